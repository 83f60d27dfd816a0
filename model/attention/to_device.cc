#include "model/attention/to_device.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>

namespace llava::model {

at::Tensor ToDevice(std::span<const std::int64_t> values, at::Device device) {
  return at::from_blob(const_cast<std::int64_t*>(values.data()),
                       {static_cast<std::int64_t>(values.size())}, at::kLong)
      .to(device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

// Doubles, so that a batch that grows by one row at a time seldom allocates.
void StepBuffer::Reserve(std::int64_t count) {
  count_ = count;
  const std::int64_t before = host_.defined() ? host_.size(0) : 0;
  if (host_.defined() && count <= before) return;
  const std::int64_t capacity = std::max(count, 2 * before);
  const auto options = at::TensorOptions().dtype(dtype_);
  host_ = at::empty({capacity}, options.pinned_memory(device_.is_cuda()));
  device_part_ = device_.is_cpu() ? host_ : at::empty({capacity}, options.device(device_));
}

at::Tensor StepBuffer::Send() {
  at::Tensor sent = device_part_.narrow(0, 0, count_);
  if (!device_.is_cpu()) sent.copy_(host_.narrow(0, 0, count_));
  return sent;
}

}  // namespace llava::model
