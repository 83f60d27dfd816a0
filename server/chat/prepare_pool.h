// The prepare threads: they decode images and tokenize, off the RPC threads and the engine's.
#ifndef LLAVA_SERVER_CHAT_PREPARE_POOL_H_
#define LLAVA_SERVER_CHAT_PREPARE_POOL_H_

#include <cstddef>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "base/bounded_queue.h"

namespace llava::api {

// Thread-safe. Owned by the app. First come, first served.
class PreparePool {
 public:
  PreparePool(int threads, std::size_t capacity) : queue_(capacity) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this] {
        while (auto job = queue_.Pop()) (*job)();
      });
    }
  }
  ~PreparePool() { Stop(); }

  // False, and `job` is dropped, when `capacity` jobs wait already or the pool was stopped.
  bool TrySubmit(std::function<void()> job) { return queue_.TryPush(std::move(job)); }

  // Runs what waits, then joins.
  void Stop() {
    queue_.Close();
    threads_.clear();
  }

  std::size_t waiting() const { return queue_.size(); }

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_PREPARE_POOL_H_
