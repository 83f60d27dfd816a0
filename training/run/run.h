// A recipe from the first step, or from where it was interrupted, to the trained weights.
#ifndef LLAVA_TRAINING_RUN_RUN_H_
#define LLAVA_TRAINING_RUN_RUN_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "model/network/llava.h"
#include "training/distributed/rank_place.h"
#include "training/distributed/ranks.h"
#include "training/objective/objective.h"
#include "training/optim/step_report.h"
#include "training/recipe/recipe.h"
#include "training/run/run_inputs.h"

namespace llava::training {

// How far a run goes; the same recipe run again goes on from there.
enum class RunUntil {
  kTrained,    // the last step is saved
  kEvaluated,  // and its gate has decided: output/gate.json, with the weights in output/checkpoint
  kPublished,
};

struct RunOptions {
  RankPlace place;  // of a run on several ranks: rank 0 reports the steps and publishes
  // After metrics.jsonl has the step; on the training thread.
  std::function<void(const StepReport&)> on_step = [](const StepReport&) {};
  // The same of a validation.
  std::function<void(const ValidationReport&)> on_validation = [](const ValidationReport&) {};
  // Human-readable lines: rows left out (of this rank), files written. From any thread, one call at
  // a time.
  std::function<void(const std::string&)> on_message = [](const std::string&) {};
  // Asked after each step; true saves and ends with CANCELLED.
  std::function<bool()> stop = [] { return false; };
  // True when something begins that wants to come to its own end before the process does: steps,
  // which are saved when `stop` says so, and the moment in which servers see the version, whose
  // record follows. False when something else does (opening data, asking questions), which loses
  // nothing when the process is ended in the middle of it. At first it is false. On the training
  // thread.
  std::function<void(bool)> on_critical = [](bool) {};
  bool accept_changed_data = false;  // see OpenRunOptions
  bool accept_changed_code = false;
  RunUntil until = RunUntil::kPublished;
  // Not empty: what is published is rejected for this reason, whatever its gate says now.
  std::string rejected;
};

// Opens the run (training/run/opened_run.h), trains to the end of the last stage and publishes the
// result (training/run/publish_run.h), which ranks other than the first do not learn; of a run that
// ends before that, `version` is "". Draws the
// scenes that the recipe asks for. All that the recipe names is opened before the first step.
// Errors are those of OpenRun, the model's files, the data, Ranks::Join and Trainer::Run; all name
// what is wrong.
absl::StatusOr<FinishedRun> RunRecipe(const Recipe& recipe, const Clock& clock,
                                      const RunOptions& options);

// The model that a recipe starts from: a checkpoint's, its layers of codes where the recipe says
// so, or random weights.
absl::StatusOr<std::unique_ptr<model::Llava>> LoadTrainingModel(const Recipe& recipe,
                                                                at::Device device);

// What a stage of `recipe` learns from, from `first_step` on; this rank's part of it. Model and
// clock outlive it. The errors of the data.
absl::StatusOr<std::unique_ptr<Objective>> MakeObjective(
    const Recipe& recipe, const model::Llava& model, Ranks& ranks, const StageOptions& stage,
    std::int64_t first_step, const Clock& clock,
    const std::function<void(const std::string&)>& on_message);

// The folder of config.json, tokenizer and preprocessor.
const std::string& ModelFolder(const Recipe& recipe);

// Where the adapters of a stage lie once it has ended, counted from 0.
std::string AdaptersFile(const Recipe& recipe, std::int64_t stage);

// The model with the weights of the newest saved state, on the CPU. NOT_FOUND when there is none.
// `recipe`: that of an opened run (training/run/opened_run.h).
absl::StatusOr<std::unique_ptr<model::Llava>> LoadTrainedModel(const Recipe& recipe);

// Writes `model` as a Hugging Face LLaVA folder in bf16, with the files of ModelFolder(recipe).
absl::Status SaveTrainedModel(const Recipe& recipe, const model::Llava& model,
                              const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_RUN_H_
