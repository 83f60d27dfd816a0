// Time as an argument. The only place that reads a clock; everything else is handed a Clock or a
// TimePoint, so that tests and the simulation own the time.
#ifndef LLAVA_BASE_CLOCK_H_
#define LLAVA_BASE_CLOCK_H_

#include <chrono>
#include <cstdint>

namespace llava {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

// Seconds as a double, for metrics and logs.
inline double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Monotonic.
  virtual TimePoint Now() const = 0;

  // Milliseconds since 1970-01-01 UTC; may jump. For log lines and file names only.
  virtual std::int64_t UnixMillis() const = 0;
};

class RealClock final : public Clock {
 public:
  TimePoint Now() const override;
  std::int64_t UnixMillis() const override;
};

// What the calling thread has computed so far: a bound on work that holds on a busy machine too.
Duration ThreadCpuTime();

// Stands still until it is told otherwise. Not thread-safe: for tests and the simulation.
class ManualClock final : public Clock {
 public:
  TimePoint Now() const override { return now_; }
  std::int64_t UnixMillis() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch()).count();
  }
  void Advance(Duration d) { now_ += d; }

 private:
  TimePoint now_{};
};

}  // namespace llava

#endif  // LLAVA_BASE_CLOCK_H_
