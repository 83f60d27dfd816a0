// Chooses the next token from a row of logits.
#ifndef LLAVA_MODEL_NETWORK_SAMPLER_H_
#define LLAVA_MODEL_NETWORK_SAMPLER_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/sampling_params.h"
#include "model/kernels/cpu/dispatch.h"

namespace llava::model {

struct SampleContext {
  const SamplingParams* params = nullptr;  // validated
  std::span<const std::int32_t> prompt_ids;
  std::span<const std::int32_t> output_ids;  // so far
  std::span<const std::int32_t>
      end_ids;  // not chosen before params->min_tokens, nor stop_token_ids
  std::uint64_t seed = 0;
};

struct SampledToken {
  std::int32_t token = 0;
  // Natural logarithms of the model's own probabilities: before penalties, bias and temperature.
  // With params->top_logprobs >= 0; `top` has that many, the likeliest first, ties by the smaller
  // id.
  float logprob = 0;
  std::vector<std::pair<std::int32_t, float>> top;
};

// Steps in this order: repetition penalty (Keskar et al., arXiv 1909.05858), presence and frequency
// penalties (OpenAI API reference), logit bias, minimum length; then greedy (the smaller id of
// equals), or temperature, top-k, top-p (Holtzman et al., arXiv 1904.09751) of what is left, min-p
// (Nguyen et al., arXiv 2407.01082). A draw is a function of (seed, number of output_ids) and the
// row.
//
// Keeps working memory between calls: one for each thread.
class Sampler {
 public:
  explicit Sampler(const KernelTable& kernels = Kernels()) : kernels_(kernels) {}

  // INTERNAL when a logit is NaN or infinite. Token ids outside of the row are ignored.
  absl::StatusOr<SampledToken> Sample(std::span<const float> logits, const SampleContext& context);

 private:
  struct Candidate {
    float weight;
    std::int32_t token;
  };

  void Adjust(const SampleContext& context);
  std::int32_t Draw(const SamplingParams& params, double uniform);
  std::int32_t DrawFrom(std::span<const Candidate> kept, double uniform) const;
  static bool Likelier(const Candidate& a, const Candidate& b);
  void KeepLargest(std::span<const float> row, std::size_t count, float least);
  void KeepLikeliest(const SamplingParams& params, double total);
  void AddLogprobs(std::span<const float> logits, int top, SampledToken& chosen);

  const KernelTable& kernels_;
  std::vector<float> row_;      // the adjusted logits
  std::vector<float> weights_;  // proportional to probabilities, the largest is 1
  std::vector<std::int32_t>
      seen_;  // of each token: times in the answer, plus 1 << 30 if in prompt or answer
  std::vector<Candidate> candidates_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_SAMPLER_H_
