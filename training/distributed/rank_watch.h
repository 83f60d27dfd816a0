// Notices when a process of a distributed run is gone, whatever it died of, and says which.
#ifndef LLAVA_TRAINING_DISTRIBUTED_RANK_WATCH_H_
#define LLAVA_TRAINING_DISTRIBUTED_RANK_WATCH_H_

#include <cstdint>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "training/distributed/rank_place.h"

namespace llava::training {

// Every rank counts up a key of the shared store on a thread of its own, and looks at everybody
// else's. Thread-safe.
class RankWatch {
 public:
  // A rank whose count stands still for `lost_after` is lost, and so is rank 0, which keeps the
  // store, when that does not answer. Should this process not have ended `lost_after` later, it is
  // ended: it may hang in a call to the lost rank. `store` is used by the watch alone.
  RankWatch(c10::intrusive_ptr<c10d::Store> store, const RankPlace& place, Duration lost_after,
            const Clock& clock);
  ~RankWatch();

  // Why a call to the others failed: waits until the watch knows, at most twice `lost_after`.
  // UNAVAILABLE, names the rank.
  absl::Status Explain(const std::string& failure);

  // This rank has ended, well or by a fault of its own, which the others will hear of. Rank 0 waits
  // (a bounded time) until everybody has ended: it keeps the store.
  void Leave(const absl::Status& status);

 private:
  struct Peer {
    std::string count;  // its last value
    TimePoint changed;
    bool left = false;
  };

  void Loop();
  void Beat();
  void Look(int rank, TimePoint now);
  void Lost(const std::string& message);
  void EndIfStuck();

  const c10::intrusive_ptr<c10d::Store> store_;
  const RankPlace place_;
  const Duration lost_after_;
  const Duration interval_;
  const Clock& clock_;
  std::int64_t beats_ = 0;   // the watch thread's
  std::vector<Peer> peers_;  // the watch thread's
  TimePoint lost_at_{};      // the watch thread's
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  bool everybody_left_ ABSL_GUARDED_BY(mutex_) = false;
  TimePoint beat_began_ ABSL_GUARDED_BY(mutex_){};  // of the call to the store under way, if any
  std::string lost_ ABSL_GUARDED_BY(mutex_);        // what happened; empty: nothing
  std::jthread thread_;                             // the watch; joined by ~RankWatch
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DISTRIBUTED_RANK_WATCH_H_
