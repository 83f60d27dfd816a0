// Jobs of unequal size on the calling thread and its workers (worker_pool.h).
#ifndef LLAVA_MODEL_KERNELS_CPU_PARALLEL_H_
#define LLAVA_MODEL_KERNELS_CPU_PARALLEL_H_

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "model/kernels/cpu/worker_pool.h"

namespace llava::model {

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

#endif  // LLAVA_MODEL_KERNELS_CPU_PARALLEL_H_
