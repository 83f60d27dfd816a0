#include "server/chat/prepare_pool.h"

#include <utility>

#include "base/clock.h"

namespace llava::api {

PreparePool::PreparePool(int threads, std::size_t capacity) : queue_(capacity) {
  threads_.emplace_back([this] { Work(/*texts_only=*/true); });
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Work(/*texts_only=*/false); });
  }
}

bool PreparePool::TrySubmit(const std::string& tenant, std::function<void()> job) {
  MutexLock lock(&mutex_);
  if (stopped_ || !queue_.TryPush(tenant, std::move(job))) return false;
  changed_.NotifyAll();  // one alone might be the thread that this job is not for
  return true;
}

void PreparePool::SubmitPicture(const std::string& tenant, std::function<void()> job) {
  MutexLock lock(&mutex_);
  queue_.PushPicture(tenant, std::move(job));
  changed_.NotifyAll();
}

void PreparePool::Stop() {
  {
    MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  threads_.clear();
}

std::size_t PreparePool::waiting() const {
  MutexLock lock(&mutex_);
  return queue_.waiting();
}

void PreparePool::Work(bool texts_only) {
  while (auto taken = Next(texts_only)) {
    const Duration before = ThreadCpuTime();
    taken->job();
    taken->job = nullptr;  // what it holds is let go on its tenant's account
    MutexLock lock(&mutex_);
    queue_.Done(taken->tenant, ThreadCpuTime() - before);
  }
}

// Nothing: the pool was stopped and nothing waits. Then the others may have ended, and what a job
// leaves to do is done by the thread that ran it.
std::optional<PrepareQueue::Taken> PreparePool::Next(bool texts_only) {
  MutexLock lock(&mutex_);
  for (;;) {
    auto taken = queue_.Pop(texts_only && !stopped_);
    if (taken || stopped_) return taken;
    changed_.Wait(&mutex_);
  }
}

}  // namespace llava::api
