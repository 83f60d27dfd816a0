#include "model/kernels/cpu/worker_pool.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <utility>

namespace llava::model {
namespace {

// The parts of `state_`: whether workers may join, how many still may, how many are at work.
constexpr std::uint32_t kOpen = 1u << 31;
constexpr std::uint32_t kPlace = 1u << 16;
constexpr std::uint32_t kPlaces = kOpen - kPlace;
constexpr std::uint32_t kInside = kPlace - 1;

// A product of a decoded token follows the one before within some microseconds, and sleeping costs
// more than that. So a thread that waits looks often at first, which takes about 5 us, then offers
// its core to others before each look, and then sleeps.
constexpr int kLooks = 100;
constexpr int kYields = 100;

thread_local bool in_task = false;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns when `value` is no longer `old`.
void WaitWhile(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int i = 0; i < kLooks; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    sched_yield();
  }
  value.wait(old, std::memory_order_acquire);
}

// ATen's operators of this thread run on it alone meanwhile. ATen sets OpenMP's number of threads
// when a thread first asks for its own, and never again: so that comes first, and not in between.
class OneOpenMpThread {
 public:
  OneOpenMpThread() : before_(at::get_num_threads()) { omp_set_num_threads(1); }
  ~OneOpenMpThread() { omp_set_num_threads(before_); }
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  const int before_;
};

}  // namespace

WorkerPool& WorkerPool::OfThisThread() {
  thread_local WorkerPool pool;
  return pool;
}

WorkerPool::~WorkerPool() {
  stop_ = true;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  workers_.clear();  // joins
}

void WorkerPool::Run(int threads, Task task, void* context) {
  if (threads <= 1 || in_task) {
    task(context);
    return;
  }
  while (std::ssize(workers_) < threads - 1) workers_.emplace_back([this] { Work(); });
  task_ = task;
  context_ = context;
  state_.store(kOpen | kPlace * static_cast<std::uint32_t>(threads - 1), std::memory_order_release);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  {
    const OneOpenMpThread alone;
    Call();
  }
  std::uint32_t state = state_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
  while ((state & kInside) != 0) {
    WaitWhile(state_, state);
    state = state_.load(std::memory_order_acquire);
  }
  std::exception_ptr failure;
  {
    const MutexLock lock(&mutex_);
    failure = std::exchange(failure_, nullptr);
  }
  if (failure != nullptr) std::rethrow_exception(failure);
}

void WorkerPool::Work() {
  const OneOpenMpThread alone;
  std::uint32_t seen = 0;
  while (true) {
    WaitWhile(round_, seen);
    seen = round_.load(std::memory_order_acquire);
    if (stop_) return;
    if (!Join()) continue;
    Call();
    Leave();
  }
}

bool WorkerPool::Join() {
  std::uint32_t state = state_.load(std::memory_order_acquire);
  while ((state & kOpen) != 0 && (state & kPlaces) != 0) {
    if (state_.compare_exchange_weak(state, state - kPlace + 1, std::memory_order_acq_rel)) {
      return true;
    }
  }
  return false;
}

void WorkerPool::Leave() {
  state_.fetch_sub(1, std::memory_order_acq_rel);
  state_.notify_one();
}

void WorkerPool::Call() noexcept {
  in_task = true;
  try {
    task_(context_);
  } catch (...) {
    const MutexLock lock(&mutex_);
    if (failure_ == nullptr) failure_ = std::current_exception();
  }
  in_task = false;
}

}  // namespace llava::model
