#include "server/torch/device_marks.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <array>
#include <chrono>
#include <cstddef>

namespace llava::engine {
namespace {

class EventMarks final : public DeviceMarks {
 public:
  explicit EventMarks(at::Device device)
      : device_(device), events_{Timed(device), Timed(device), Timed(device)} {}

  void Set(Mark mark) override {
    Of(mark).record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }
  void WaitFor(Mark mark) override { Of(mark).synchronize(); }
  Duration Between(Mark from, Mark to) override {
    const std::chrono::duration<double, std::milli> time(Of(from).elapsedTime(Of(to)));
    return std::chrono::duration_cast<Duration>(time);
  }

 private:
  // The other kind of event has no time.
  static c10::Event Timed(at::Device device) {
    return {device.type(), c10::EventFlag::BACKEND_DEFAULT};
  }
  c10::Event& Of(Mark mark) { return events_[static_cast<std::size_t>(mark)]; }

  const at::Device device_;
  std::array<c10::Event, 3> events_;
};

}  // namespace

std::unique_ptr<DeviceMarks> MarksOf(at::Device device) {
  return device.is_cpu() ? nullptr : std::make_unique<EventMarks>(device);
}

}  // namespace llava::engine
