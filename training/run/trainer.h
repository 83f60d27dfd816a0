// The training loop: stages of steps, each step some passes and one update, with saves between them
// from which a killed run goes on to the same bits.
#ifndef LLAVA_TRAINING_RUN_TRAINER_H_
#define LLAVA_TRAINING_RUN_TRAINER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "model/llava.h"
#include "training/run/adamw.h"
#include "training/run/objective.h"
#include "training/run/recipe.h"
#include "training/run/state_store.h"
#include "training/run/step_report.h"

namespace llava::training {

// What the trainer needs from outside.
struct TrainerHooks {
  // The stage's data from `first_step` on.
  std::function<absl::StatusOr<std::unique_ptr<Objective>>(const StageOptions& stage,
                                                           std::int64_t first_step)>
      make_objective;
  std::function<void(const StepReport&)> on_step;
  // Asked after every step; true saves and ends the run with CANCELLED.
  std::function<bool()> stop = [] { return false; };
};

// Used by one thread. `model`, `store` and `clock` outlive it.
class Trainer {
 public:
  Trainer(const Recipe& recipe, model::Llava& model, StateStore& store, const Clock& clock,
          TrainerHooks hooks);

  // Goes on from the newest saved state, or from the beginning, to the end of the last stage.
  // FAILED_PRECONDITION: the saved state belongs to another recipe. DATA_LOSS: loss or gradients
  // that are not finite (names stage, step and samples), or a damaged state. Other errors are those
  // of the data.
  absl::Status Run();

  // Where the run stands; after Run(), where it ended.
  const Progress& progress() const { return progress_; }

 private:
  struct StepTotals;

  absl::Status Restore(std::vector<NamedTensor>* optimizer_state);
  absl::Status RunStage(const StageOptions& stage, const std::vector<NamedTensor>& optimizer_state);
  absl::Status RunStep(const StageOptions& stage, std::int64_t stage_steps, Objective& objective,
                       AdamW& optimizer);
  absl::StatusOr<StepTotals> RunPasses(const StageOptions& stage, Objective& objective);
  absl::Status Save(const AdamW* optimizer);
  std::vector<NamedTensor> TrainedWeights() const;
  std::string Where(const StageOptions& stage) const;

  const Recipe& recipe_;
  model::Llava& model_;
  StateStore& store_;
  const Clock& clock_;
  const TrainerHooks hooks_;
  Progress progress_;
  Duration stage_time_{};         // spent in steps of this stage by this process
  std::int64_t stage_timed_ = 0;  // those steps
};

// Copies the weights of a saved state into the model.
absl::Status RestoreWeights(const SavedState& saved, const model::Llava& model);

// Micro batches of a step on one of `ranks` ranks.
std::int64_t PassesPerStep(const StageOptions& stage, std::int64_t ranks);

// What a stage trains, in groups: weights of the model, then `extra` as the group "head".
std::vector<ParameterGroup> SelectParameters(const StageOptions& stage, const model::Llava& model,
                                             const std::vector<NamedTensor>& extra);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_TRAINER_H_
