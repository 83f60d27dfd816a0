// What sampling gives for one step of one choice. The one definition that the model's sampler, the
// scheduler and the APIs share.
#ifndef LLAVA_BASE_SAMPLED_TOKEN_H_
#define LLAVA_BASE_SAMPLED_TOKEN_H_

#include <cstdint>
#include <vector>

namespace llava {

struct TokenLogprob {
  std::int32_t token = 0;
  float logprob = 0;
};

// The token of a sample that was not drawn (scheduling::Sample::draft).
inline constexpr std::int32_t kNotSampled = -1;

// Logprobs are natural logarithms of the model's own probabilities: before penalties, bias and
// temperature. They are there when SamplingParams::top_logprobs >= 0.
struct SampledToken {
  std::int32_t token = 0;
  float logprob = 0;              // of `token`
  std::vector<TokenLogprob> top;  // top_logprobs of them, the likeliest first, ties by smaller id
};

inline SampledToken NotSampled() { return {.token = kNotSampled, .logprob = 0, .top = {}}; }

}  // namespace llava

#endif  // LLAVA_BASE_SAMPLED_TOKEN_H_
