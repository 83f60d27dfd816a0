#include "server/scheduling/cost_model.h"

namespace llava::scheduling {
namespace {

constexpr double kSmoothing = 0.1;
// A step with fewer prompt tokens says little about the cost of one.
constexpr int kMinPromptTokens = 16;

void Smooth(double& average, double value) {
  average = average == 0 ? value : average + kSmoothing * (value - average);
}

}  // namespace

void CostModel::StepDone(int prompt_tokens, int decodes, int images, Duration encode,
                         Duration forward) {
  if (images > 0) Smooth(seconds_per_image_, Seconds(encode) / images);
  if (prompt_tokens >= kMinPromptTokens) {
    Smooth(seconds_per_prompt_token_, Seconds(forward) / (prompt_tokens + decodes));
  } else if (prompt_tokens == 0 && decodes > 0) {
    Smooth(seconds_per_decode_, Seconds(forward));
  }
}

Duration CostModel::Estimate(const Work& work) const {
  const double seconds = seconds_per_image_ * static_cast<double>(work.images) +
                         seconds_per_prompt_token_ * static_cast<double>(work.prompt_tokens) +
                         seconds_per_decode_ * static_cast<double>(work.decode_steps);
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace llava::scheduling
