// The training loop: stages of steps, each step some passes and one update, with saves between them
// from which a killed run goes on to the same bits.
#ifndef LLAVA_TRAINING_OPTIM_TRAINER_H_
#define LLAVA_TRAINING_OPTIM_TRAINER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/machine/memory.h"
#include "model/network/llava.h"
#include "training/distributed/ranks.h"
#include "training/objective/objective.h"
#include "training/objective/validation.h"
#include "training/optim/adamw.h"
#include "training/optim/state_store.h"
#include "training/optim/step_report.h"
#include "training/recipe/recipe.h"

namespace llava::training {

// What the trainer needs from outside.
struct TrainerHooks {
  // The stage's data from `first_step` on, this rank's part of it.
  std::function<absl::StatusOr<std::unique_ptr<Objective>>(const StageOptions& stage,
                                                           std::int64_t first_step)>
      make_objective;
  // What the stage is validated with, this rank's part of it; nullptr: it is not. Called after
  // make_objective.
  std::function<absl::StatusOr<std::unique_ptr<Validation>>(const StageOptions& stage)>
      make_validation = [](const StageOptions&) -> absl::StatusOr<std::unique_ptr<Validation>> {
    return nullptr;
  };
  std::function<void(const StepReport&)> on_step;
  // After a validation, on every rank, while the model is as it was validated: without dropout.
  std::function<void(const ValidationReport&)> on_validation = [](const ValidationReport&) {};
  // Before the adapters of a stage are merged at its end, on every rank. An error ends the run.
  std::function<absl::Status(const StageOptions& stage, const std::vector<model::NamedTensor>&)>
      on_adapters = [](const StageOptions&, const std::vector<model::NamedTensor>&) {
        return absl::OkStatus();
      };
  // Before a state is saved: what must be on the disk with it. On the thread that writes the state,
  // which may be another. An error ends the run.
  std::function<absl::Status()> before_save = [] { return absl::OkStatus(); };
  // Bytes that this process can still take. States of which no copy fits are written while steps
  // wait.
  std::function<std::int64_t()> free_memory = [] { return AvailableMemory(); };
  // Asked in every step; true on any rank finishes it, saves and ends the run with CANCELLED.
  std::function<bool()> stop = [] { return false; };
};

// Used by one thread. What it refers to outlives it. On several ranks all make the same calls, and
// the same global batch gives the same losses but for rounding.
class Trainer {
 public:
  Trainer(const Recipe& recipe, model::Llava& model, StateStore& store, Ranks& ranks,
          const Clock& clock, TrainerHooks hooks);

  // Goes on from the newest saved state, or from the beginning, to the end of the last stage. A
  // stage that is validated ends early when its patience is at an end, and with the weights of its
  // best validation, which are a saved state.
  // FAILED_PRECONDITION: the saved state belongs to another recipe. DATA_LOSS: loss or gradients
  // that are not finite (names stage, step and samples), or a damaged state. UNAVAILABLE: a rank is
  // gone (names it). INVALID_ARGUMENT: a stage in which nothing was learnt (every row bad or
  // masked). Other errors are
  // those of the data.
  absl::Status Run();

  // Where the run stands; after Run(), where it ended.
  const Progress& progress() const { return progress_; }

 private:
  struct Stage;
  struct StepTotals;

  absl::Status Restore(std::vector<model::NamedTensor>* stage_state);
  absl::Status RunStage(const StageOptions& options,
                        const std::vector<model::NamedTensor>& stage_state);
  absl::StatusOr<std::unique_ptr<Stage>> Begin(const StageOptions& options,
                                               const std::vector<model::NamedTensor>& stage_state);
  absl::Status RunStep(Stage& stage);
  bool IsValidationDue(const Stage& stage) const;
  absl::Status Validate(Stage& stage);
  absl::Status TakeBest(const Stage& stage);
  absl::StatusOr<StepTotals> RunPasses(Stage& stage);
  absl::Status Pool(StepTotals* totals) const;
  absl::Status Update(Stage& stage, const StepTotals& totals, double norm, double factor) const;
  StepReport Report(const Stage& stage, const StepTotals& totals, double norm, double factor,
                    Duration took) const;
  absl::Status Save(const Stage* stage, bool wait);
  absl::StatusOr<bool> FitsTwice(const std::vector<model::NamedTensor>& share) const;
  std::vector<model::NamedTensor> TrainedWeights() const;
  std::string Where(const StageOptions& stage) const;

  const Recipe& recipe_;
  model::Llava& model_;
  StateStore& store_;
  Ranks& ranks_;
  const Clock& clock_;
  const TrainerHooks hooks_;
  Progress progress_;
  Duration stage_time_{};         // spent in steps of this stage by this process
  std::int64_t stage_timed_ = 0;  // those steps
};

// Copies the weights of a saved state of `recipe` into the model, the adapters' share included.
absl::Status RestoreWeights(const SavedState& saved, const Recipe& recipe,
                            const model::Llava& model);

// The adapters of the stage in which a state was saved, by PEFT's names; and the weights of the
// model that it has.
std::vector<model::NamedTensor> AdaptersOf(const SavedState& saved);
std::vector<model::NamedTensor> WeightsOf(const SavedState& saved);

// Micro batches of a step on one of `ranks` ranks.
std::int64_t PassesPerStep(const StageOptions& stage, std::int64_t ranks);

// What a stage trains, in groups: weights of the model, then `extra` as the group "head".
std::vector<ParameterGroup> SelectParameters(const StageOptions& stage, const model::Llava& model,
                                             const std::vector<model::NamedTensor>& extra);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_TRAINER_H_
