// A bounded queue between threads, any number of producers and consumers. Order is FIFO. After
// Close() pushes fail and pops hand out what is left, then nothing.
#ifndef LLAVA_BASE_BOUNDED_QUEUE_H_
#define LLAVA_BASE_BOUNDED_QUEUE_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"

namespace llava {

// Thread-safe.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {
    LLAVA_CHECK_GT(capacity, 0u);
  }

  // False, with `item` untouched, when the queue is full or closed. Never blocks.
  bool TryPush(T&& item) {
    MutexLock lock(&mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    not_empty_.NotifyOne();
    return true;
  }

  // Waits for room. False, with `item` untouched, when the queue is closed.
  bool Push(T&& item) {
    MutexLock lock(&mutex_);
    while (!closed_ && items_.size() >= capacity_) not_full_.Wait(&mutex_);
    if (closed_) return false;
    items_.push_back(std::move(item));
    not_empty_.NotifyOne();
    return true;
  }

  // Waits for an item; nothing when the queue is closed and empty.
  std::optional<T> Pop() {
    MutexLock lock(&mutex_);
    while (!closed_ && items_.empty()) not_empty_.Wait(&mutex_);
    if (items_.empty()) return std::nullopt;
    return PopFront();
  }

  // Never blocks.
  std::optional<T> TryPop() {
    MutexLock lock(&mutex_);
    if (items_.empty()) return std::nullopt;
    return PopFront();
  }

  // Everything that is queued now, without blocking.
  std::vector<T> PopAll() {
    MutexLock lock(&mutex_);
    std::vector<T> all(std::make_move_iterator(items_.begin()),
                       std::make_move_iterator(items_.end()));
    items_.clear();
    not_full_.NotifyAll();
    return all;
  }

  // Waits until there is an item, the queue is closed, or `deadline` passed.
  void WaitUntil(TimePoint deadline) {
    MutexLock lock(&mutex_);
    while (!closed_ && items_.empty()) {
      if (!not_empty_.WaitUntil(&mutex_, deadline)) return;
    }
  }

  void Close() {
    MutexLock lock(&mutex_);
    closed_ = true;
    not_empty_.NotifyAll();
    not_full_.NotifyAll();
  }

  std::size_t size() const {
    MutexLock lock(&mutex_);
    return items_.size();
  }

 private:
  T PopFront() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    T item = std::move(items_.front());
    items_.pop_front();
    not_full_.NotifyOne();
    return item;
  }

  const std::size_t capacity_;
  mutable Mutex mutex_;
  CondVar not_empty_;
  CondVar not_full_;
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace llava

#endif  // LLAVA_BASE_BOUNDED_QUEUE_H_
