// The beginning of every `llava-train run`: which folder it works in, what it was begun with, and
// whether that is still there.
#ifndef LLAVA_TRAINING_RUN_OPENED_RUN_H_
#define LLAVA_TRAINING_RUN_OPENED_RUN_H_

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/version_lease.h"
#include "training/recipe/recipe.h"
#include "training/run/run_inputs.h"
#include "training/run/run_lock.h"

namespace llava::training {

struct OpenRunOptions {
  bool accept_changed_data = false;  // rows and pictures
  bool accept_changed_code = false;  // another version of this program or of LibTorch
  std::function<void(const std::string&)> on_message = [](const std::string&) {};
};

// Movable. While it lives nobody else opens the run, and retention leaves the model's version
// alone.
struct OpenedRun {
  // `output` is the run's own folder, `model` the folder it began with, links resolved.
  Recipe recipe;
  RunInputs inputs;
  std::optional<FinishedRun> finished;  // then there is nothing left to do
  std::optional<RunLock> lock;
  std::optional<model::VersionLease> lease;
};

// A run's folder is recipe.output, and when a finished one there had other inputs, output/anew-2,
// output/anew-3, ...: the newest of them counts.
//
// Begins a run where none was, and records its inputs; goes on with one that has not ended, whose
// inputs must be what they were; begins anew in the next folder when one has ended and its inputs
// have changed. A link to the model is resolved when a run begins: wherever it points later, the
// run goes on with what it began with. When only what is published depends on a change, `finished`
// is forgotten. FAILED_PRECONDITION lists what has changed, or says that a state has no record.
// UNAVAILABLE: another process has the run. Else the error of what cannot be read.
absl::StatusOr<OpenedRun> OpenRun(const Recipe& recipe, const OpenRunOptions& options);

// The same run as another rank has opened it, or for reading: without lock, nothing is compared.
absl::StatusOr<OpenedRun> JoinRun(const Recipe& recipe);

// Takes the captured rows that the stages want into the run's folder; `is_learned`: it is written
// down beside the shards, whose versions are found by it. INVALID_ARGUMENT: a stage has no other
// rows, and none is wanted there.
absl::Status TakeCapturedRows(const Recipe& recipe, bool is_learned,
                              const std::function<void(const std::string&)>& on_message);

// The rows that were taken become files of the stages.
void UseCapturedRows(Recipe* recipe);

// The folders that they were taken to, by where they were captured.
std::vector<std::pair<std::string, std::string>> CapturedFolders(const Recipe& recipe);

// Where the run records its pictures.
std::string PicturesFolder(const Recipe& recipe);

// Where its states are.
std::string StateFolder(const Recipe& recipe);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_OPENED_RUN_H_
