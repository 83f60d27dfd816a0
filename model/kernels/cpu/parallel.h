// Jobs of unequal size on ATen's thread pool.
#ifndef LLAVA_MODEL_KERNELS_CPU_PARALLEL_H_
#define LLAVA_MODEL_KERNELS_CPU_PARALLEL_H_

#include <ATen/Parallel.h>

#include <atomic>
#include <cstdint>

namespace llava::model {

// Runs job(i, state) for i in [0, jobs). Each thread takes the next job when it is free, in order,
// so that long jobs are best put first. `worker_state()` makes the state that one thread keeps
// between its jobs.
template <typename MakeState, typename Job>
void ParallelJobs(std::int64_t jobs, const MakeState& worker_state, const Job& job) {
  const std::int64_t threads = jobs < at::get_num_threads() ? jobs : at::get_num_threads();
  std::atomic<std::int64_t> next = 0;
  at::parallel_for(0, threads, 1, [&](std::int64_t first, std::int64_t last) {
    for (; first < last; ++first) {
      auto state = worker_state();
      for (std::int64_t i = next++; i < jobs; i = next++) job(i, state);
    }
  });
}

template <typename Job>
void ParallelJobs(std::int64_t jobs, const Job& job) {
  ParallelJobs(jobs, [] { return 0; }, [&job](std::int64_t i, int) { job(i); });
}

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_PARALLEL_H_
