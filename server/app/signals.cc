#include "server/app/signals.h"

#include <pthread.h>
#include <signal.h>

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

}  // namespace

Signals::Signals() {
  signal(SIGPIPE, SIG_IGN);
  SetMask(SIG_BLOCK, StopsAndHangUp());
}

void Signals::LetThrough() { SetMask(SIG_UNBLOCK, Stops()); }

void Signals::HoldBack() { SetMask(SIG_BLOCK, Stops()); }

void Signals::Wait(const std::function<void()>& on_hang_up) {
  HoldBack();
  const sigset_t set = StopsAndHangUp();
  int number = SIGHUP;
  while (number == SIGHUP) {
    LLAVA_CHECK_EQ(sigwait(&set, &number), 0);
    if (number == SIGHUP) on_hang_up();
  }
  SetMask(SIG_UNBLOCK, Stops());
}

}  // namespace llava::server
