// Threads that compute together. OpenMP's wait at a barrier until everybody has come, spinning: a
// neighbour on a core, or a quota of the control group, then costs a factor of 50. Here nobody
// waits for a thread that has not started, and whoever waits gives its core away after
// microseconds.
#ifndef LLAVA_MODEL_KERNELS_CPU_WORKER_POOL_H_
#define LLAVA_MODEL_KERNELS_CPU_WORKER_POOL_H_

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace llava::model {

// Workers of one computing thread, which owns them, starts them when it first needs them, and joins
// them when it ends; they inherit its priority. One task at a time.
class WorkerPool {
 public:
  // A task is called by several threads at once, and takes its jobs from a counter of its own.
  using Task = void (*)(void* context);

  // The calling thread's own.
  static WorkerPool& OfThisThread();

  WorkerPool() = default;
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Calls task(context) on this thread and on up to `threads` - 1 workers, those that are awake in
  // time: when this thread comes back from its call, the others no longer start. Returns when all
  // that started are back. Throws what the first of them threw. ATen's operators run on one thread
  // within a task, and a task within a task runs on the thread that calls it. REQUIRES: at most
  // 32768 threads.
  void Run(int threads, Task task, void* context);

 private:
  void Work();
  bool Join();
  void Leave();
  void Call() noexcept;

  std::vector<std::jthread> workers_;

  // Written by Run while no task is open.
  Task task_ = nullptr;
  void* context_ = nullptr;

  std::atomic<std::uint32_t> round_ = 0;  // grows with each task, and at the end
  // Whether workers may join, how many still may, and how many are at work. A place is taken once:
  // who comes after another has left finds none.
  std::atomic<std::uint32_t> state_ = 0;
  std::atomic<bool> stop_ = false;

  Mutex mutex_;
  std::exception_ptr failure_ ABSL_GUARDED_BY(mutex_);
};

// How many threads are worth their while for work that reads so many bytes: one for each 256 KiB,
// which take a core some 20 us. For less, waking a thread costs more than it computes, and on a
// busy machine a thread that is descheduled within its job holds up all others for milliseconds.
inline std::int64_t ThreadsFor(std::int64_t bytes) {
  constexpr std::int64_t kBytesOfAThread = std::int64_t{1} << 18;
  return std::max<std::int64_t>(1, bytes / kBytesOfAThread);
}

// Runs job(i, state) for i in [0, jobs) on at most `threads` threads, and on at most as many as
// ATen may use (at::get_num_threads). Each thread takes the next job when it is free, in order, so
// that long jobs are best put first. `worker_state()` makes the state that one thread keeps between
// its jobs.
template <typename MakeState, typename Job>
void ParallelJobs(std::int64_t jobs, std::int64_t threads, const MakeState& worker_state,
                  const Job& job) {
  std::atomic<std::int64_t> next = 0;
  auto work = [&] {
    auto state = worker_state();
    for (std::int64_t i = next++; i < jobs; i = next++) job(i, state);
  };
  threads = std::min<std::int64_t>({threads, jobs, at::get_num_threads()});
  WorkerPool::OfThisThread().Run(
      static_cast<int>(threads), [](void* context) { (*static_cast<decltype(work)*>(context))(); },
      &work);
}

template <typename Job>
void ParallelJobs(std::int64_t jobs, std::int64_t threads, const Job& job) {
  ParallelJobs(jobs, threads, [] { return 0; }, [&job](std::int64_t i, int) { job(i); });
}

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_WORKER_POOL_H_
