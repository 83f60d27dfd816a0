// How fast a request has to come.
#ifndef LLAVA_SERVER_API_HTTP_PACE_H_
#define LLAVA_SERVER_API_HTTP_PACE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "server/api/http/server.h"

namespace llava::api {

// Until when a request must have come: all of it within request_timeout, and of its body, in each
// body_window, as much as min_body_rate says. So a client that stops in the middle holds what it
// has sent for one window only. A body that is taken in pieces has request_timeout for each.
class Pace {
 public:
  Pace(const HttpOptions& options, TimePoint now)
      : timeout_(options.request_timeout),
        end_(now + timeout_),
        window_(options.body_window),
        window_bytes_(options.min_body_rate * window_ / std::chrono::seconds(1)),
        window_end_(end_) {}

  TimePoint deadline() const { return std::min(end_, window_end_); }

  // The next piece is wanted.
  void Restart(TimePoint now) {
    end_ = now + timeout_;
    StartWindow(now);
  }

  // The body begins.
  void StartWindow(TimePoint now) {
    window_end_ = window_bytes_ > 0 ? now + window_ : end_;
    in_window_ = 0;
  }

  void Arrived(std::size_t bytes, TimePoint now) {
    in_window_ += static_cast<std::int64_t>(bytes);
    if (in_window_ >= window_bytes_) StartWindow(now);
  }

 private:
  const Duration timeout_;
  TimePoint end_;
  const Duration window_;
  const std::int64_t window_bytes_;  // in each
  TimePoint window_end_;
  std::int64_t in_window_ = 0;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_PACE_H_
