// SIGTERM, SIGINT and SIGHUP, waited for rather than handled.
#ifndef LLAVA_SERVER_APP_SIGNALS_H_
#define LLAVA_SERVER_APP_SIGNALS_H_

#include <functional>
#include <optional>

#include "base/clock.h"

namespace llava::server {

// Main thread only; created before any other thread, so that all of them leave the signals alone.
// SIGHUP never ends the process, from here on: it waits for Wait.
class Signals {
 public:
  Signals();

  // While something slow starts: SIGTERM or SIGINT ends the process at once.
  void LetThrough();

  // They are kept for Wait again.
  void HoldBack();

  // Waits for the first SIGTERM or SIGINT; the next one ends the process at once. Calls
  // `on_hang_up` for each SIGHUP before it, and `on_interval` whenever `interval` has passed, where
  // there is one.
  void Wait(const std::function<void()>& on_hang_up, std::optional<Duration> interval = {},
            const std::function<void()>& on_interval = nullptr);
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_SIGNALS_H_
