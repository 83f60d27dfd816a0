// Chooses the next token from a row of logits.
#ifndef LLAVA_MODEL_NETWORK_SAMPLER_H_
#define LLAVA_MODEL_NETWORK_SAMPLER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "base/sampled_token.h"
#include "base/sampling_params.h"
#include "model/kernels/cpu/dispatch.h"
#include "model/network/logits_processor.h"

namespace llava::model {

struct SampleContext {
  const SamplingParams* params = nullptr;  // validated
  ChoiceTokens tokens;
  // Of this choice, for `params` (MakeLogitsProcessors).
  std::span<const std::unique_ptr<LogitsProcessor>> processors;
  std::uint64_t seed = 0;
};

// Steps in this order: the choice's logits processors; then greedy (the smaller id of equals), or
// temperature, top-k, top-p (Holtzman et al., arXiv 1904.09751) of what top-k left, min-p (Nguyen
// et al., arXiv 2407.01082). A draw is a function of (seed, number of output_ids) and the row.
//
// Keeps working memory between calls: one for each thread.
class Sampler {
 public:
  explicit Sampler(const KernelTable& kernels = Kernels()) : kernels_(kernels) {}

  // INTERNAL when a logit is NaN or infinite; INVALID_ARGUMENT when the answer's form left
  // no token, which is this choice's trouble alone. Token ids outside of the row are ignored.
  absl::StatusOr<SampledToken> Sample(std::span<const float> logits, const SampleContext& context);

 private:
  struct Candidate {
    float weight;
    std::int32_t token;
  };

  std::int32_t Draw(const SamplingParams& params, float top, double uniform);
  std::int32_t DrawFrom(std::span<const Candidate> kept, double uniform) const;
  static bool Likelier(const Candidate& a, const Candidate& b);
  void KeepLargest(std::span<const float> row, std::size_t count, float least);
  void KeepLikeliest(const SamplingParams& params, double total);
  void AddLogprobs(std::span<const float> logits, int top, SampledToken& chosen);

  const KernelTable& kernels_;
  std::vector<float> row_;      // the logits as the processors leave them
  std::vector<float> weights_;  // proportional to probabilities, the largest is 1
  std::vector<Candidate> candidates_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_SAMPLER_H_
