// Whether the daemon wants requests, and if not, why. What /readyz and the gRPC health service say.
#ifndef LLAVA_SERVER_OBSERVE_HEALTH_H_
#define LLAVA_SERVER_OBSERVE_HEALTH_H_

#include <functional>
#include <string>
#include <utility>

#include "base/mutex.h"

namespace llava::observe {

// Thread-safe. Starts not ready.
class Health {
 public:
  struct State {
    bool ready = false;
    std::string reason = "starting";  // empty when ready
  };

  // After Drain() it stays not ready.
  void SetReady() { Set({true, ""}); }
  void SetNotReady(std::string reason) { Set({false, std::move(reason)}); }

  // For good: the daemon stops.
  void Drain() {
    Set({false, "draining"});
    MutexLock lock(&mutex_);
    draining_ = true;
  }

  State state() const {
    MutexLock lock(&mutex_);
    return state_;
  }

  // Called with each change, and once now. At most one listener; it must not call back.
  void Listen(std::function<void(const State&)> listener) {
    MutexLock lock(&mutex_);
    listener_ = std::move(listener);
    if (listener_) listener_(state_);
  }

 private:
  void Set(State state) {
    MutexLock lock(&mutex_);
    if (draining_) return;
    state_ = std::move(state);
    if (listener_) listener_(state_);
  }

  mutable Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void(const State&)> listener_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::observe

#endif  // LLAVA_SERVER_OBSERVE_HEALTH_H_
