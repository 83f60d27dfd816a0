// Work of a device that is recorded once and from then on done again with one launch.
#ifndef LLAVA_SERVER_TORCH_STEP_GRAPH_H_
#define LLAVA_SERVER_TORCH_STEP_GRAPH_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"

namespace llava::engine {

// Freed with the object. Used by the thread that recorded it.
class StepGraph {
 public:
  virtual ~StepGraph() = default;

  // Does the work again behind all that the thread has asked of the device: at the same addresses,
  // with the same sizes, on what stands there by then. Throws c10::Error when the device fails.
  virtual void Replay() = 0;

  // Of the device's memory that it took, about.
  virtual std::int64_t bytes() const = 0;
};

class GraphBackend {
 public:
  virtual ~GraphBackend() = default;

  // `work` only asks things of the device, waits for none, and may be done several times: here it
  // is done at least once, which does what a work does once for its first time, and then recorded
  // without being done. What it reads and writes must stay where it is as long as the graph is
  // there; results that it leaves behind are those of the last Replay. An error leaves nothing
  // behind: RESOURCE_EXHAUSTED, or INTERNAL where the device cannot record such work.
  virtual absl::StatusOr<std::unique_ptr<StepGraph>> Capture(const std::function<void()>& work) = 0;
};

// CUDA graphs; null for a CPU and in a build without CUDA.
std::unique_ptr<GraphBackend> GraphsOf(at::Device device);

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_STEP_GRAPH_H_
