// How fast a service may be asked: a window of requests in flight that follows how it does, rates
// that it has stated, and rest while it seems to be down. Time is an argument.
#ifndef LLAVA_TRAINING_ENDPOINT_PACE_H_
#define LLAVA_TRAINING_ENDPOINT_PACE_H_

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "training/endpoint/chat_reply.h"
#include "training/endpoint/endpoint_options.h"

namespace llava::training {

// Not thread-safe. The window begins with all requests, is halved when the service is throttling or
// unwell (once for all that were in flight then), and grows by one with every 20 good answers.
// After 20 failures in a row one request at a time is a probe.
class Pace {
 public:
  explicit Pace(const EndpointOptions& options);

  // Zero: the request, of so many tokens, has begun. Otherwise it may be asked for again after so
  // much time; kNoPlace: when another one has ended.
  static constexpr Duration kNoPlace = Duration::max();
  Duration TryBegin(TimePoint now, std::int64_t tokens);

  // A request that began at `began` has ended.
  void End(TimePoint began, TimePoint now, Verdict verdict, std::optional<Duration> retry_after);

  // Whether the service has been down for so long that nobody need wait for it.
  bool HasGivenUp(TimePoint now) const;

  // Whether it seems to be down: failures say nothing about the requests then.
  bool is_down() const;

  std::int64_t window() const { return window_; }
  std::int64_t in_flight() const { return in_flight_; }

 private:
  // A bucket that fills steadily and holds what comes in a minute.
  struct Bucket {
    double per_second = 0;  // 0: no bound
    double level = 0;
    TimePoint filled_at{};

    Duration Wait(TimePoint now, double amount);
    void Take(double amount) { level -= per_second == 0 ? 0 : amount; }
  };

  void Cut(TimePoint began, TimePoint now);

  const EndpointOptions options_;
  std::int64_t window_;
  std::int64_t in_flight_ = 0;
  std::int64_t good_ = 0;          // since the window last changed
  std::int64_t failures_ = 0;      // in a row
  std::optional<TimePoint> down_;  // when the first of the failures or throttles in a row ended
  TimePoint not_before_{};
  std::optional<TimePoint> cut_;  // when the window was halved last
  Bucket requests_, tokens_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ENDPOINT_PACE_H_
