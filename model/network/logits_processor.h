// What changes a row of logits before a token is chosen from it: penalties, biases, tokens that are
// ruled out. Sampler (sampler.h) applies a choice's processors one after the other.
#ifndef LLAVA_MODEL_NETWORK_LOGITS_PROCESSOR_H_
#define LLAVA_MODEL_NETWORK_LOGITS_PROCESSOR_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "base/sampling_params.h"

namespace llava::model {

// The tokens of one choice of a request.
struct ChoiceTokens {
  std::span<const std::int32_t> prompt_ids;
  std::span<const std::int32_t> output_ids;  // sampled so far
};

// A change of one token's logit: x becomes min(x > 0 ? x / penalty : x * penalty, the largest
// float) - minus + plus.
struct LogitChange {
  std::int32_t token = 0;
  float penalty = 1;
  float minus = 0;
  float plus = 0;

  float Of(float x) const {
    const float penalized = x > 0 ? x / penalty : x * penalty;
    return std::min(penalized, std::numeric_limits<float>::max()) - minus + plus;
  }
};

// Belongs to one choice and may keep state from token to token, so that a step need not look at the
// whole answer again. That state must be a function of the sampling parameters and the tokens: a
// processor that is made in the middle of an answer (because the choice was preempted, say) changes
// a row as one does that was there from the first token. Used by one thread at a time.
class LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;

  // Changes row_V [vocab_size] in place; -infinity rules a token out. From call to call the tokens
  // are those of the same choice, with any number of output_ids appended. Token ids outside of the
  // row are ignored.
  virtual void Process(const ChoiceTokens& tokens, std::span<float> row_V) = 0;

  // What Process does, as a list behind `changes` that does not depend on the row: each token once,
  // or again with the same result. False, and nothing is listed, when that cannot be said.
  virtual bool List(const ChoiceTokens& /*tokens*/, std::vector<LogitChange>& /*changes*/) {
    return false;
  }

  // Whether all that Process does is to rule tokens out, which ones being independent of the row.
  virtual bool IsMask() const { return false; }

  // Of a mask, in place of Process: token t is left where bit t % 32 of word t / 32 of `left` is
  // set. Writes every word.
  virtual void Mask(const ChoiceTokens& /*tokens*/, std::span<std::uint32_t> /*left*/) {}
};

using LogitsProcessors = std::vector<std::unique_ptr<LogitsProcessor>>;

// Those that `params` (validated) asks for, in the order in which they are to run: penalties, logit
// bias, minimum length, the form of the answer; none for default parameters. Where the form leaves
// no token, or takes too much work, everything is ruled out. `end_ids` are the model's tokens that
// end an answer, `seed` is that of the choice. What is needed of the arguments is copied.
LogitsProcessors MakeLogitsProcessors(const SamplingParams& params,
                                      std::span<const std::int32_t> end_ids,
                                      std::uint64_t seed = 0);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_LOGITS_PROCESSOR_H_
