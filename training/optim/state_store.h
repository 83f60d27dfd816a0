// The saved states of a run: one folder a state under <output>/state, named by its step, written
// aside and renamed, so that a folder with that name is always complete, whenever the process dies.
// Steps need not wait for the disk: what is saved is copied, and another thread writes the copy.
#ifndef LLAVA_TRAINING_OPTIM_STATE_STORE_H_
#define LLAVA_TRAINING_OPTIM_STATE_STORE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "model/tensors/named_tensor.h"
#include "training/distributed/ranks.h"

namespace llava::training {

// What validations of the current stage have said so far.
struct ValidationProgress {
  std::int64_t last_step = 0;          // of the stage, after which the last one was
  std::int64_t best_step = -1;         // of the stage, with the least loss; -1: none yet
  std::int64_t best_total_steps = -1;  // the same over all stages
  double best_loss = 0.0;
  std::int64_t since_best = 0;  // validations

  bool operator==(const ValidationProgress&) const = default;
};

// Where a run stands. The sampler's position is a function of stage and step.
struct Progress {
  std::int64_t stage = 0;            // index into the recipe's stages
  std::int64_t step = 0;             // steps of that stage that are done
  std::int64_t total_steps = 0;      // of all stages that are done
  std::int64_t optimizer_steps = 0;  // of that stage: steps with a label
  std::string recipe_digest;         // hex; a changed recipe does not resume
  Rng::State random{};               // what dropout draws from
  ValidationProgress validation;
  // For people: which weights the stages that have ended kept, where not simply their last ones.
  std::vector<std::string> kept_weights;
};

// How many stages the weights depend on.
std::int64_t StagesBegun(const Progress& progress);

struct SavedState {
  Progress progress;
  std::vector<model::NamedTensor> tensors;  // CPU, as they were saved, of all ranks
};

// The progress of the newest state in `folder` that says it; nothing when there is none. Tensors
// are not looked at.
std::optional<Progress> NewestProgress(const std::string& folder);

// Used by the training thread of one run at a time; a state is being written by a thread of its
// own. Every rank makes the same calls.
class StateStore {
 public:
  // What must be on the disk with a state; on the writing thread.
  using Before = std::function<absl::Status()>;

  // Keeps the `keep` newest states in `folder` (made when it is not there), which all ranks see.
  // `on_message` gets a line for each state that is damaged.
  StateStore(
      std::string folder, std::int64_t keep, Ranks& ranks,
      std::function<void(const std::string&)> on_message = [](const std::string&) {});
  // Waits for what is being written. On several ranks it stays unfinished.
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  // Called by every rank with its share of the tensors, which becomes a file of its own; a later
  // run may have another number of ranks. Durable when it returns. Removes what is older than the
  // `keep` newest, but not the state of the best validation, and leftovers of writes that were cut
  // short. The error names the file.
  absl::Status Save(const Progress& progress, const std::vector<model::NamedTensor>& tensors,
                    const Before& before = NothingBefore);

  // The same of copies of the tensors as they are now, in memory of the CPU, without waiting until
  // they are written. Waits for the state before it, so that there is one copy at a time.
  absl::Status Begin(const Progress& progress, const std::vector<model::NamedTensor>& tensors,
                     const Before& before = NothingBefore);

  // Whether this rank's share of the state that was begun is on the disk, or has failed; true when
  // none was.
  bool written() const;

  // Now and then after Begin: `all_written` says that every rank's share is, and lets the state be
  // complete. The error of writing this rank's share.
  absl::Status Advance(bool all_written);

  // Waits until the state that was begun, if any, is durable on every rank.
  absl::Status Finish();

  // The newest state that is as it was saved, or nothing in a fresh folder. Damaged ones are passed
  // over and make room for the next states; an error when all are damaged.
  absl::StatusOr<std::optional<SavedState>> LoadNewest();

  // The state after so many steps, in that stage. DATA_LOSS: damaged. NOT_FOUND: not there.
  absl::StatusOr<SavedState> LoadAt(std::int64_t total_steps, std::int64_t stage) const;

 private:
  // What a state needs to be written.
  struct Job {
    Progress progress;
    std::vector<model::NamedTensor> tensors;
    Before before;
  };

  static absl::Status NothingBefore() { return absl::OkStatus(); }
  absl::Status Start(Job job);
  void Write(Job job);
  absl::Status WriteShare(Job& job) const;
  absl::Status Complete(const Progress& progress) const;
  bool MayComplete();
  void RemoveOld(const std::string& but) const;

  const std::string folder_;
  const std::int64_t keep_;
  Ranks& ranks_;
  const std::function<void(const std::string&)> on_message_;
  std::vector<std::string> damaged_;  // names of states that did not read

  std::string begun_;  // the name of the last state that was

  mutable Mutex mutex_;
  CondVar changed_;
  bool written_ ABSL_GUARDED_BY(mutex_) = true;  // this rank's share, or nothing was begun
  bool all_written_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;  // the writer; joined by Finish and ~StateStore
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_STATE_STORE_H_
