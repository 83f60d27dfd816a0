// Counts work in flight so that shutdown can wait for it: Enter() before, Leave() after,
// CloseAndWait() once. After the gate is closed Enter() fails.
#ifndef LLAVA_BASE_GATE_H_
#define LLAVA_BASE_GATE_H_

#include "base/check.h"
#include "base/mutex.h"

namespace llava {

// Thread-safe. Invariant: destroyed only when nobody is inside.
class Gate {
 public:
  ~Gate() {
    MutexLock lock(&mutex_);
    LLAVA_CHECK_EQ(inside_, 0);
  }

  // False when the gate is closed.
  bool Enter() {
    MutexLock lock(&mutex_);
    if (closed_) return false;
    ++inside_;
    return true;
  }

  void Leave() {
    MutexLock lock(&mutex_);
    LLAVA_CHECK_GT(inside_, 0);
    if (--inside_ == 0) empty_.NotifyAll();
  }

  void Close() {
    MutexLock lock(&mutex_);
    closed_ = true;
  }

  // False when somebody was still inside at `deadline`.
  bool CloseAndWait(TimePoint deadline) {
    MutexLock lock(&mutex_);
    closed_ = true;
    while (inside_ > 0) {
      if (!empty_.WaitUntil(&mutex_, deadline)) return inside_ == 0;
    }
    return true;
  }

  int inside() const {
    MutexLock lock(&mutex_);
    return inside_;
  }

 private:
  mutable Mutex mutex_;
  CondVar empty_;
  int inside_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace llava

#endif  // LLAVA_BASE_GATE_H_
