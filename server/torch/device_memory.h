// What a device's memory is and what a step takes of it, in bytes.
#ifndef LLAVA_SERVER_TORCH_DEVICE_MEMORY_H_
#define LLAVA_SERVER_TORCH_DEVICE_MEMORY_H_

#include <c10/core/Device.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/hosting/backend.h"
#include "server/torch/torch_model.h"

namespace llava::server {

// What the allocator of LibTorch holds and has no use for counts as free. INTERNAL when a GPU does
// not answer.
absl::StatusOr<DeviceMemory> MemoryOfDevice(at::Device device);

// A picture of one tile through the tower, then `tokens` rows of prompts through the decoder, on KV
// blocks of their own. Errors are those of KvCache::Create and RankThreads; what LibTorch throws is
// thrown where there is one device.
absl::Status RunStep(const engine::TorchModel& model, int tokens);

// What the recorded steps of a device with `total` bytes may take, with the block that pads them.
std::int64_t GraphBytes(std::int64_t total);

// See Backend::MeasureStep, without what recorded steps take; of several devices the one that needs
// most. RESOURCE_EXHAUSTED when the step does not fit.
absl::StatusOr<std::int64_t> MeasureStepOn(const engine::TorchModel& model, int tokens);

}  // namespace llava::server

#endif  // LLAVA_SERVER_TORCH_DEVICE_MEMORY_H_
