// Answers whose tokens are given, each choice of a request its own: what is wanted of them is how
// likely they are.
#ifndef LLAVA_MODEL_GRAMMAR_FORCED_TOKENS_H_
#define LLAVA_MODEL_GRAMMAR_FORCED_TOKENS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "model/grammar/token_constraint.h"

namespace llava::model {

// By the seed of their choice.
using TokensOfChoices = std::map<std::uint64_t, std::vector<std::int32_t>>;

// After its tokens an answer ends: with one of `end_ids`. A seed that is not there: at once. Ids
// are in [0, vocab_size).
std::shared_ptr<const TokenConstraint> ForceTokens(TokensOfChoices tokens,
                                                   std::vector<std::int32_t> end_ids,
                                                   int vocab_size);

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_FORCED_TOKENS_H_
