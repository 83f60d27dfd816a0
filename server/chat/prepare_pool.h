// The prepare threads: they decode images and tokenize, off the RPC threads and the engine's.
#ifndef LLAVA_SERVER_CHAT_PREPARE_POOL_H_
#define LLAVA_SERVER_CHAT_PREPARE_POOL_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "server/chat/prepare_queue.h"

namespace llava::api {

// Thread-safe. Owned by the app. Who is next, and how many may wait: prepare_queue.h. One thread
// more than `threads` does texts alone, so that they never wait for a picture.
class PreparePool {
 public:
  PreparePool(int threads, std::size_t capacity);
  ~PreparePool() { Stop(); }

  // A job without pictures. False, and `job` is dropped, when too many of the tenant's wait already
  // or the pool was stopped.
  bool TrySubmit(const std::string& tenant, std::function<void()> job);

  // What such a job leaves to do, with one picture in it: it waits for its tenant's turn again.
  // REQUIRES: the caller is a job of this pool.
  void SubmitPicture(const std::string& tenant, std::function<void()> job);

  // Runs what waits, then joins.
  void Stop();

  std::size_t waiting() const;

 private:
  void Work(bool texts_only);
  std::optional<PrepareQueue::Taken> Next(bool texts_only);

  mutable Mutex mutex_;
  CondVar changed_;
  PrepareQueue queue_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::jthread> threads_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_PREPARE_POOL_H_
