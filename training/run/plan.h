// What a run will need, found out by doing a little of it: nothing is written into its folders.
#ifndef LLAVA_TRAINING_RUN_PLAN_H_
#define LLAVA_TRAINING_RUN_PLAN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "training/recipe/recipe.h"

namespace llava::training {

struct StagePlan {
  std::string name;
  std::int64_t steps = 0;
  std::int64_t trained_parameters = 0;
  std::int64_t tokens_per_step = 0;  // of the batch that was tried
  double seconds_per_step = 0.0;     // of that batch
  std::int64_t memory_bytes = 0;     // resident after it, in this process
  std::int64_t state_bytes = 0;      // of the largest state that is saved of it
};

struct RunPlan {
  std::int64_t parameters = 0;
  std::vector<StagePlan> stages;
  std::int64_t version_bytes = 0;  // of what is published
  std::int64_t disk_bytes = 0;     // most that the run takes at a time: states, adapters, a version
  std::int64_t free_bytes = 0;     // where its folder is, or will be
};

// Opens all that the recipe names, and trains two batches of every stage in one process, which are
// thrown away. Drawn scenes are drawn into a temporary folder, at most as many as two batches need.
// The errors of RunRecipe.
absl::StatusOr<RunPlan> PlanRun(const Recipe& recipe, const Clock& clock,
                                const std::function<void(const std::string&)>& on_message);

// For a person, several lines.
std::string ToText(const RunPlan& plan);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_PLAN_H_
