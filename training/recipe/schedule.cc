#include "training/recipe/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace llava::training {

std::int64_t WarmupSteps(const ScheduleOptions& options, std::int64_t total_steps) {
  return static_cast<std::int64_t>(
      std::ceil(options.warmup_ratio * static_cast<double>(total_steps)));
}

double ScheduleFactor(const ScheduleOptions& options, std::int64_t step, std::int64_t total_steps) {
  LLAVA_CHECK_GE(step, 0);
  LLAVA_CHECK_GT(total_steps, 0);
  const std::int64_t warmup = WarmupSteps(options, total_steps);
  if (step < warmup) return static_cast<double>(step) / static_cast<double>(warmup);
  const double progress =
      std::min(1.0, static_cast<double>(step - warmup) /
                        static_cast<double>(std::max<std::int64_t>(1, total_steps - warmup)));
  double falling = 1.0;
  if (options.kind == ScheduleKind::kCosine) {
    falling = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  } else if (options.kind == ScheduleKind::kLinear) {
    falling = 1.0 - progress;
  }
  return options.floor + (1.0 - options.floor) * falling;
}

}  // namespace llava::training
