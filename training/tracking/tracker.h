// Tells an MLflow server of a run while it trains, from a thread of its own. Training neither waits
// for it nor hands it anything: what there is to say stands in the run's folder.
#ifndef LLAVA_TRAINING_TRACKING_TRACKER_H_
#define LLAVA_TRAINING_TRACKING_TRACKER_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "training/tracking/run_record.h"
#include "training/tracking/teller.h"

namespace llava::training {

struct TrackerTimes {
  Duration look = std::chrono::seconds(2);        // between looks at what is new
  Duration first_wait = std::chrono::seconds(1);  // after a failure, then twice as long each time
  Duration longest_wait = std::chrono::minutes(1);
  Duration last_words = std::chrono::seconds(10);  // at the end of a run
};

// Used by the training thread. While a server does not take what it is told, or its token cannot be
// read, this is tried again now and then; that it does not, and that it does again, is one message
// each.
class Tracker {
 public:
  // Writes the record and begins. `on_message` is called from both threads. The clock outlives it.
  Tracker(const std::string& folder, RunRecord record, const Clock& clock,
          std::function<void(const std::string&)> on_message, const TrackerTimes& times = {});

  // Ends at once; what was not told is told by who goes on with the run.
  ~Tracker();

  // How the run has ended, with further tags: waits until the server knows it, or until it is clear
  // that it does not take it, or for times.last_words. REQUIRES: called once.
  void Finish(const std::string& status, const std::map<std::string, std::string>& tags);

 private:
  void Write();
  void Loop();
  absl::StatusOr<bool> Tell();
  void Note(const absl::Status& told);
  bool WaitFor(Duration wait);

  const std::string folder_;
  const std::string uri_;
  RunRecord record_;
  const Clock& clock_;
  const std::function<void(const std::string&)> on_message_;
  const TrackerTimes times_;
  bool is_well_ = true;  // of the thread, as the next too
  Duration wait_;
  std::unique_ptr<Teller> teller_;  // made by the thread, with the lock
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // nothing more is told
  bool knows_all_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;  // "tracker"
};

// Tells what is left of the run in `folder`, whose process is gone: one that did not say how it
// ended has ended so. NOT_FOUND: it is no run that is tracked. Else the errors of Teller; what was
// told is known.
absl::Status TellTheRest(const std::string& folder, const std::string& ended, const Clock& clock,
                         const std::function<void(const std::string&)>& on_message);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_TRACKING_TRACKER_H_
