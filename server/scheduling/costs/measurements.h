// The last measurements of something that varies, such as the time of a step, and what they say
// together without the odd ones among them: a machine that stood still for a minute (a paused
// virtual machine, a throttled container) makes one measurement of a minute, which no mean forgets
// for long but which is never a middle one.
#ifndef LLAVA_SERVER_SCHEDULING_COSTS_MEASUREMENTS_H_
#define LLAVA_SERVER_SCHEDULING_COSTS_MEASUREMENTS_H_

#include <array>
#include <cstddef>

namespace llava::scheduling {

// Not thread-safe; allocates nothing.
class Measurements {
 public:
  // So few that a change of the work or of the machine is believed after a dozen measurements, and
  // enough that several odd ones in a row are still odd.
  static constexpr std::size_t kWindow = 16;

  // Forgets the oldest one when there are kWindow.
  void Add(double value);

  // How many are remembered, at most kWindow.
  std::size_t count() const { return count_; }

  // The value in the place `share` of [0, 1] of the sorted measurements, rounded down: 0 is the
  // smallest, 0.5 the median, 1 the largest. 0 when there are none.
  double Quantile(double share) const;

 private:
  std::array<double, kWindow> values_{};
  std::size_t count_ = 0;
  std::size_t next_ = 0;  // where the next one goes
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_COSTS_MEASUREMENTS_H_
