// Devices that compute together in one process: a thread for each, and the sums over them.
#ifndef LLAVA_MODEL_RANKS_RANK_THREADS_H_
#define LLAVA_MODEL_RANKS_RANK_THREADS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "model/ranks/c10d_backend.h"

namespace llava::model {

// Rank 0 is the thread that calls Run, the others are threads that this object owns. One device is
// one rank without threads or backends: Run is then a call.
class RankThreads {
 public:
  using Work = std::function<absl::Status(int rank)>;

  // CPUs alone, or different GPUs alone, which each rank has as its current device. Of CPUs each
  // rank computes with its part of `threads`, at least one (0: as the threads were before). The
  // errors are those of MakeC10dBackend; UNAVAILABLE when the ranks cannot reach each other;
  // FAILED_PRECONDITION for several in a program that has not called TurnOffFlightRecorder.
  static absl::StatusOr<std::unique_ptr<RankThreads>> Start(std::vector<at::Device> devices,
                                                            int threads);
  ~RankThreads();

  int size() const { return static_cast<int>(devices_.size()); }

  // Calls work(rank) of all ranks at the same time; returns when all are back, with the error of
  // the rank that failed first. INTERNAL for what is thrown. By one thread at a time.
  absl::Status Run(const Work& work);

  // Within Run, by every rank as often: `tensor` (contiguous; of one shape and dtype) becomes the
  // sum over the ranks, in place. Ranks that wait for one that has failed are woken. Throws
  // c10::Error then, and when the devices cannot reach each other, within a minute.
  void Sum(int rank, const at::Tensor& tensor);

 private:
  RankThreads(std::vector<at::Device> devices, int threads);
  void Serve(int rank);
  void Call(int rank, const Work& work);
  // Until all ranks are here: true; false when one has failed.
  bool Meet();

  const std::vector<at::Device> devices_;
  const int threads_;  // of each rank; 0: as before
  std::vector<c10::intrusive_ptr<c10d::Backend>> backends_;

  Mutex mutex_;
  CondVar changed_;
  const Work* work_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::uint64_t runs_ ABSL_GUARDED_BY(mutex_) = 0;  // begun
  int running_ ABSL_GUARDED_BY(mutex_) = 0;         // threads that are not back
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);    // of the run: the first
  int here_ ABSL_GUARDED_BY(mutex_) = 0;            // who wait in Meet
  std::uint64_t met_ ABSL_GUARDED_BY(mutex_) = 0;   // how often all have
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::jthread> others_;  // ranks 1 and on; joined by ~RankThreads
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_RANKS_RANK_THREADS_H_
