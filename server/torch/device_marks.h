// When a device that runs behind the thread that asks has done what.
#ifndef LLAVA_SERVER_TORCH_DEVICE_MARKS_H_
#define LLAVA_SERVER_TORCH_DEVICE_MARKS_H_

#include <c10/core/Device.h>

#include <memory>

#include "base/clock.h"

namespace llava::engine {

// Places in the work of one device: of each kind the last one that was set. Used by one thread.
// Throws c10::Error when the device fails, which is also when what it did before has failed.
class DeviceMarks {
 public:
  enum class Mark { kBegin, kEncoded, kEnd };

  virtual ~DeviceMarks() = default;
  // Behind everything that the thread has asked of the device so far.
  virtual void Set(Mark mark) = 0;
  // Returns when the device has come there.
  virtual void WaitFor(Mark mark) = 0;
  // The device's time from one to the other, which are both set, and waited for.
  virtual Duration Between(Mark from, Mark to) = 0;
};

// Null for a CPU, which has done all that was asked of it when the call is back. For a GPU events
// on its current stream.
std::unique_ptr<DeviceMarks> MarksOf(at::Device device);

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_DEVICE_MARKS_H_
