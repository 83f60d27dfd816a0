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

void SetMask(int how) {
  const sigset_t set = Stops();
  LLAVA_CHECK_EQ(pthread_sigmask(how, &set, nullptr), 0);
}

}  // namespace

Signals::Signals() {
  signal(SIGPIPE, SIG_IGN);
  SetMask(SIG_BLOCK);
}

void Signals::LetThrough() { SetMask(SIG_UNBLOCK); }

void Signals::Wait() {
  SetMask(SIG_BLOCK);
  const sigset_t set = Stops();
  int number = 0;
  LLAVA_CHECK_EQ(sigwait(&set, &number), 0);
  SetMask(SIG_UNBLOCK);
}

}  // namespace llava::server
