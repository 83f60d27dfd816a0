// Numbers that the host makes and the device reads.
#ifndef LLAVA_MODEL_ATTENTION_TO_DEVICE_H_
#define LLAVA_MODEL_ATTENTION_TO_DEVICE_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <span>

namespace llava::model {

// A copy of `values` as an int64 tensor [values.size()] on `device`.
at::Tensor ToDevice(std::span<const std::int64_t> values, at::Device device);

// Room for numbers that every step sends to the device, kept from step to step: written by the host
// in place, without an allocation unless a step needs more than any before it, and then at the same
// addresses again. On the CPU the device's memory is the host's and nothing is copied; for a GPU
// the host's part is pinned. Used by one thread.
class StepBuffer {
 public:
  // dtype: kLong or kInt.
  StepBuffer(at::ScalarType dtype, at::Device device) : dtype_(dtype), device_(device) {}

  // The host's part, [count] of unspecified content, to be filled before Send. T is the C++ type of
  // the dtype.
  template <typename T>
  std::span<T> Fill(std::int64_t count) {
    Reserve(count);
    return {host_.mutable_data_ptr<T>(), static_cast<std::size_t>(count)};
  }

  // What was filled, [count] on the device: a view, overwritten by the next Send. Waits until it
  // has been copied, so that the host's part may be filled again.
  at::Tensor Send();

 private:
  void Reserve(std::int64_t count);

  const at::ScalarType dtype_;
  const at::Device device_;
  std::int64_t count_ = 0;
  at::Tensor host_;         // [capacity]
  at::Tensor device_part_;  // [capacity]; the same tensor on the CPU
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_TO_DEVICE_H_
