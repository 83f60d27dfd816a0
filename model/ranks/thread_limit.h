// How many threads the calling thread computes with.
#ifndef LLAVA_MODEL_RANKS_THREAD_LIMIT_H_
#define LLAVA_MODEL_RANKS_THREAD_LIMIT_H_

#include <ATen/Parallel.h>
#include <omp.h>

namespace llava::model {

// The calling thread computes with `threads` (0: as before) for a while; others as before. ATen
// sets OpenMP's number of threads when a thread first asks for its own, and never again: so that
// comes first.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads) : before_(at::get_num_threads()) {
    if (threads > 0) omp_set_num_threads(threads);
  }
  ~ThreadLimit() { omp_set_num_threads(before_); }
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  const int before_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_RANKS_THREAD_LIMIT_H_
