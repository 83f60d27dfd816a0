// Bounds calls that anybody may hold open.
#ifndef LLAVA_RPC_OPEN_CALLS_H_
#define LLAVA_RPC_OPEN_CALLS_H_

#include <cstddef>
#include <functional>
#include <list>
#include <optional>
#include <utility>

#include "base/mutex.h"

namespace llava::rpc {

// At most so many calls; one more ends the oldest, so that whoever holds many cannot lock others
// out. Thread-safe.
class OpenCalls {
 public:
  using Id = std::list<std::function<void()>>::iterator;

  explicit OpenCalls(std::size_t most) : most_(most) {}

  // `evict` ends the call; it is called at most once, never after Leave, under the lock.
  Id Enter(std::function<void()> evict) {
    MutexLock lock(&mutex_);
    if (active_ == most_) EvictOldest();
    ++active_;
    return calls_.insert(calls_.end(), std::move(evict));
  }

  void Leave(Id id) {
    MutexLock lock(&mutex_);
    if (*id != nullptr) --active_;
    calls_.erase(id);
  }

 private:
  void EvictOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (auto& evict : calls_) {
      if (evict == nullptr) continue;
      std::exchange(evict, nullptr)();
      --active_;
      return;
    }
  }

  const std::size_t most_;
  Mutex mutex_;
  std::list<std::function<void()>> calls_ ABSL_GUARDED_BY(mutex_);  // oldest first
  std::size_t active_ ABSL_GUARDED_BY(mutex_) = 0;                  // of them, not evicted
};

}  // namespace llava::rpc

#endif  // LLAVA_RPC_OPEN_CALLS_H_
