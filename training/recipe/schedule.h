// The learning rate over a stage, as a factor of the peak rate: linear warm-up, then a cosine, a
// line, or nothing down to a floor. The formulas are those of transformers' get_scheduler (which
// the published recipes use): step 0 has factor 0 under warm-up, the last step comes near the
// floor.
#ifndef LLAVA_TRAINING_RECIPE_SCHEDULE_H_
#define LLAVA_TRAINING_RECIPE_SCHEDULE_H_

#include <cstdint>

namespace llava::training {

enum class ScheduleKind { kCosine, kLinear, kConstant };

struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::kCosine;
  double warmup_ratio = 0.0;  // of the stage's steps, rounded up
  double floor = 0.0;         // the factor at the end, within [0, 1]
};

// Steps of warm-up in a stage of `total_steps`.
std::int64_t WarmupSteps(const ScheduleOptions& options, std::int64_t total_steps);

// The factor for step `step`. REQUIRES: 0 <= step, 0 < total_steps. Within [0, 1]; after the last
// step it stays at the floor.
double ScheduleFactor(const ScheduleOptions& options, std::int64_t step, std::int64_t total_steps);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RECIPE_SCHEDULE_H_
