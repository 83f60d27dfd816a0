// Numbers that the host makes and the device reads.
#ifndef LLAVA_MODEL_ATTENTION_TO_DEVICE_H_
#define LLAVA_MODEL_ATTENTION_TO_DEVICE_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

namespace llava::model {

// A copy of `values` as an int64 tensor [values.size()] on `device`. Waits until it is there.
at::Tensor ToDevice(std::span<const std::int64_t> values, at::Device device);

// The numbers that a step sends to the device, all of them in one copy for which nobody waits. They
// are kept from step to step: the device's part is at the same addresses again unless a step has
// more of them than any before it, and the host's part is written in place. On the CPU the device's
// memory is the host's and nothing is copied. For a GPU the host's part is pinned, and there are
// two of them, taken in turn: one is filled while the device may still read the other. Used by one
// thread.
class StepBuffer {
 public:
  // Where some numbers are: `count` of `dtype`, from byte `first` on.
  struct Part {
    std::int64_t first = 0;
    std::int64_t count = 0;
    at::ScalarType dtype = at::kByte;
  };

  explicit StepBuffer(at::Device device) : StepBuffer(device, !device.is_cpu()) {}
  // `copies`: whether the device's part is one of its own. Always so of a GPU; of a CPU in tests.
  StepBuffer(at::Device device, bool copies) : device_(device), copies_(copies) {}

  // The next step: parts of the one before are no more. Waits until a host's part is free, which it
  // is unless the device is two steps behind.
  void Begin();

  // Room for `count` numbers of unspecified content, which are to be filled before the next Add.
  template <typename T>
  std::pair<Part, std::span<T>> Add(std::int64_t count) {
    const Part part{Reserve(count * static_cast<std::int64_t>(sizeof(T))), count,
                    c10::CppTypeToScalarType<T>::value};
    auto* bytes = host_[turn_].mutable_data_ptr<std::uint8_t>() + part.first;
    return {part, {reinterpret_cast<T*>(bytes), static_cast<std::size_t>(count)}};
  }
  // The same with these numbers in it.
  template <typename T>
  Part AddCopyOf(std::span<const T> numbers) {
    const auto [part, room] = Add<T>(std::ssize(numbers));
    std::copy(numbers.begin(), numbers.end(), room.begin());
    return part;
  }

  // Once a step, after the last Add: what was added is on its way. What the device's current stream
  // of the calling thread does next, sees it there.
  void Send();

  // After Send: the part on the device, [count]; a view, which the next Send overwrites.
  at::Tensor Get(const Part& part) const;

 private:
  // The first of so many bytes more.
  std::int64_t Reserve(std::int64_t bytes);

  const at::Device device_;
  const bool copies_;
  std::size_t turn_ = 0;                             // of host_
  std::int64_t used_ = 0;                            // bytes
  std::int64_t capacity_ = 0;                        // bytes
  std::array<at::Tensor, 2> host_;                   // bytes [capacity]; one of them without copies
  std::array<std::optional<c10::Event>, 2> copied_;  // from host_; of a GPU
  at::Tensor there_;                                 // bytes [capacity]
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_TO_DEVICE_H_
