#include "server/app/signals.h"

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <ctime>

#include "base/check.h"

namespace llava::server {
namespace {

sigset_t Stops() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

sigset_t StopsAndHangUp() {
  sigset_t set = Stops();
  sigaddset(&set, SIGHUP);
  return set;
}

void SetMask(int how, const sigset_t& set) {
  LLAVA_CHECK_EQ(pthread_sigmask(how, &set, nullptr), 0);
}

timespec ToTimespec(Duration duration) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(duration);
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(duration - seconds);
  return {.tv_sec = seconds.count(), .tv_nsec = rest.count()};
}

}  // namespace

Signals::Signals() {
  signal(SIGPIPE, SIG_IGN);
  SetMask(SIG_BLOCK, StopsAndHangUp());
}

void Signals::LetThrough() { SetMask(SIG_UNBLOCK, Stops()); }

void Signals::HoldBack() { SetMask(SIG_BLOCK, Stops()); }

void Signals::Wait(const std::function<void()>& on_hang_up, std::optional<Duration> interval,
                   const std::function<void()>& on_interval) {
  HoldBack();
  const sigset_t set = StopsAndHangUp();
  int number = 0;
  while (number != SIGTERM && number != SIGINT) {
    const timespec limit = ToTimespec(interval.value_or(Duration(0)));
    number = sigtimedwait(&set, nullptr, interval.has_value() ? &limit : nullptr);
    LLAVA_CHECK(number > 0 || errno == EAGAIN || errno == EINTR);
    if (number == SIGHUP) on_hang_up();
    if (number < 0 && errno == EAGAIN) on_interval();
  }
  SetMask(SIG_UNBLOCK, Stops());
}

}  // namespace llava::server
