#include "server/scheduling/costs/cost_model.h"

#include <cmath>

namespace llava::scheduling {
namespace {

// A bound from below is wanted, so that only what cannot be is refused: a quarter of the steps were
// quicker. Three quarters of the window may be odd before the estimate is.
constexpr double kQuantile = 0.25;
// A step with fewer prompt tokens costs what any step costs, and says little about one token.
constexpr int kMinPromptTokens = 16;

}  // namespace

void CostModel::Cost::Add(double measured, TimePoint now) {
  seconds.Add(measured);
  last = now;
}

double CostModel::Cost::At(TimePoint now) const {
  if (seconds.count() < kMinMeasurements) return 0;
  return seconds.Quantile(kQuantile) * std::exp2(-Seconds(now - last) / Seconds(kHalfLife));
}

void CostModel::StepDone(int prompt_tokens, int decodes, double images, Duration encode,
                         Duration forward, TimePoint now) {
  if (images > 0) image_.Add(Seconds(encode) / images, now);
  if (prompt_tokens >= kMinPromptTokens) {
    prompt_token_.Add(Seconds(forward) / (prompt_tokens + decodes), now);
  } else if (prompt_tokens == 0 && decodes > 0) {
    decode_.Add(Seconds(forward), now);
  }
}

Duration CostModel::Estimate(const Work& work, TimePoint now) const {
  const double seconds = image_.At(now) * static_cast<double>(work.images) +
                         prompt_token_.At(now) * static_cast<double>(work.prompt_tokens) +
                         decode_.At(now) * static_cast<double>(work.decode_steps);
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace llava::scheduling
