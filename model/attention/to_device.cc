#include "model/attention/to_device.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace llava::model {
namespace {

// Of the beginnings of parts: enough for any number, and for a kernel that reads four at a time.
constexpr std::int64_t kAlignment = 16;

}  // namespace

at::Tensor ToDevice(std::span<const std::int64_t> values, at::Device device) {
  return at::from_blob(const_cast<std::int64_t*>(values.data()),
                       {static_cast<std::int64_t>(values.size())}, at::kLong)
      .to(device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

void StepBuffer::Begin() {
  used_ = 0;
  if (!copies_) return;
  turn_ = 1 - turn_;
  if (copied_[turn_].has_value()) copied_[turn_]->synchronize();
}

// Doubles, so that a batch that grows by one row at a time seldom allocates.
std::int64_t StepBuffer::Reserve(std::int64_t bytes) {
  const std::int64_t first = (used_ + kAlignment - 1) / kAlignment * kAlignment;
  const std::int64_t needed = first + bytes;
  if (needed > capacity_) capacity_ = std::max(needed, 2 * capacity_);
  at::Tensor& host = host_[turn_];
  if (!host.defined() || host.size(0) < needed) {
    const auto options = at::TensorOptions().dtype(at::kByte).pinned_memory(device_.is_cuda());
    const at::Tensor larger = at::empty({capacity_}, options);
    if (used_ > 0) larger.narrow(0, 0, used_).copy_(host.narrow(0, 0, used_));
    host = larger;
  }
  used_ = needed;
  return first;
}

void StepBuffer::Send() {
  const at::Tensor& host = host_[turn_];
  if (!copies_) there_ = host;
  if (!copies_ || used_ == 0) return;
  if (!there_.defined() || there_.size(0) < used_) {
    there_ = at::empty({capacity_}, at::TensorOptions().dtype(at::kByte).device(device_));
  }
  there_.narrow(0, 0, used_).copy_(host.narrow(0, 0, used_), /*non_blocking=*/true);
  if (!device_.is_cuda()) return;
  if (!copied_[turn_].has_value()) copied_[turn_].emplace(device_.type());
  copied_[turn_]->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
}

at::Tensor StepBuffer::Get(const Part& part) const {
  const auto size = static_cast<std::int64_t>(c10::elementSize(part.dtype));
  if (part.count == 0) {
    return at::empty({0}, at::TensorOptions().dtype(part.dtype).device(device_));
  }
  return there_.narrow(0, part.first, part.count * size).view(part.dtype);
}

}  // namespace llava::model
