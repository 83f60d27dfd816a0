#include "server/torch/step_graph.h"

#ifdef LLAVA_WITH_CUDA

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace llava::engine {
namespace {

// The memory of what graphs compute in, which those that are there share: they run one after the
// other, and none needs what another has left in it. A pool that all graphs have left cannot be
// recorded into again.
using Pool = at::cuda::MempoolId_t;

class CudaGraph final : public StepGraph {
 public:
  CudaGraph(at::Device device, std::shared_ptr<const Pool> pool)
      : device_(device), pool_(std::move(pool)) {}

  void Replay() override {
    const c10::cuda::CUDAGuard guard(device_);
    graph_.replay();
  }
  std::int64_t bytes() const override { return bytes_; }

  // Records on the current stream. Another thread may load a version meanwhile: its allocations are
  // no part of this.
  void Record(const std::function<void()>& work) {
    graph_.capture_begin(*pool_, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      GiveUp();
      throw;
    }
    try {
      graph_.capture_end();
    } catch (...) {
      StopAllocating();
      throw;
    }
  }
  void set_bytes(std::int64_t bytes) { bytes_ = bytes; }

 private:
  // The stream has to leave the recording whatever comes of it.
  void GiveUp() {
    try {
      graph_.capture_end();
    } catch (const c10::Error&) {
      StopAllocating();
    }
  }
  // capture_end does so unless it fails before.
  void StopAllocating() {
    try {
      c10::cuda::CUDACachingAllocator::endAllocateToPool(device_.index(), *pool_);
      c10::cuda::CUDACachingAllocator::releasePool(device_.index(), *pool_);
    } catch (const c10::Error&) {  // it had been done
    }
    (void)cudaGetLastError();  // which the next launch would take for its own
  }

  const at::Device device_;
  const std::shared_ptr<const Pool> pool_;
  std::int64_t bytes_ = 0;
  at::cuda::CUDAGraph graph_;
};

class CudaGraphs final : public GraphBackend {
 public:
  explicit CudaGraphs(at::Device device)
      : device_(device), side_(c10::cuda::getStreamFromPool(false, device.index())) {}

  absl::StatusOr<std::unique_ptr<StepGraph>> Capture(const std::function<void()>& work) override {
    try {
      const c10::cuda::CUDAGuard guard(device_);
      c10::cuda::getCurrentCUDAStream().synchronize();  // the side stream sees what was sent
      std::shared_ptr<const Pool> pool = pool_.lock();
      if (pool == nullptr) {
        pool = std::make_shared<const Pool>(at::cuda::graph_pool_handle());
        pool_ = pool;
      }
      auto graph = std::make_unique<CudaGraph>(device_, std::move(pool));
      // The default stream cannot be recorded.
      const c10::cuda::CUDAStreamGuard on_side(side_);
      work();
      side_.synchronize();
      const std::int64_t before = Free();
      graph->Record(work);
      side_.synchronize();
      // Too much while another thread allocates, and never less than nothing.
      graph->set_bytes(std::max<std::int64_t>(before - Free(), 0));
      return graph;
    } catch (const c10::OutOfMemoryError& error) {
      return absl::ResourceExhaustedError(error.what_without_backtrace());
    } catch (const c10::Error& error) {
      return absl::InternalError(error.what_without_backtrace());
    }
  }

 private:
  static std::int64_t Free() {
    std::size_t free = 0, total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return static_cast<std::int64_t>(free);
  }

  const at::Device device_;
  const c10::cuda::CUDAStream side_;
  std::weak_ptr<const Pool> pool_;
};

}  // namespace

std::unique_ptr<GraphBackend> GraphsOf(at::Device device) {
  return device.is_cuda() ? std::make_unique<CudaGraphs>(device) : nullptr;
}

}  // namespace llava::engine

#else

namespace llava::engine {

std::unique_ptr<GraphBackend> GraphsOf(at::Device /*device*/) { return nullptr; }

}  // namespace llava::engine

#endif
