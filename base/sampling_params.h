// How the next token is chosen and when an answer ends. The one definition that the model's
// sampler, the scheduler, the APIs and the clients share.
#ifndef LLAVA_BASE_SAMPLING_PARAMS_H_
#define LLAVA_BASE_SAMPLING_PARAMS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace llava::model {
class TokenConstraint;  // of model/grammar
}

namespace llava {

// Of logit_bias and stop_token_ids, which are looked at for every token of an answer.
inline constexpr int kMaxListedTokens = 1024;

struct SamplingParams {
  double temperature = 0.0;                   // [0, 100]; 0 is greedy
  double top_p = 1.0;                         // [0, 1]; 0: the likeliest token
  int top_k = 0;                              // 0: off
  double min_p = 0.0;                         // [0, 1]
  double repetition_penalty = 1.0;            // (0, 10]; over prompt and answer
  double presence_penalty = 0.0;              // [-2, 2]; over the answer
  double frequency_penalty = 0.0;             // [-2, 2]; over the answer
  std::map<std::int32_t, double> logit_bias;  // token id -> [-100, 100]; at most kMaxListedTokens
  std::optional<std::uint64_t> seed;          // same seed, same text
  int top_logprobs = -1;                      // -1: none; 0: of the chosen token only; at most 20
  int max_tokens = 256;                       // at least 1
  int min_tokens = 0;                         // no end of answer before
  bool ignore_eos = false;
  std::vector<std::string> stop;  // at most 16, each 1 to 256 bytes; not part of the answer
  std::vector<std::int32_t> stop_token_ids;  // at most kMaxListedTokens
  // Of the form that the answer has to have; null: any. Decides when the answer may end, and so
  // takes neither min_tokens nor ignore_eos.
  std::shared_ptr<const model::TokenConstraint> constraint;

  bool operator==(const SamplingParams&) const = default;
};

// INVALID_ARGUMENT that names the field (FieldOf, base/field_error.h), its value and what was
// expected.
absl::Status Validate(const SamplingParams& params);

}  // namespace llava

#endif  // LLAVA_BASE_SAMPLING_PARAMS_H_
