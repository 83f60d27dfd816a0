#include "client/interrupts.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace llava::client {
namespace {

// SIGUSR1 ends the waiting thread.
sigset_t Waited() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGUSR1);
  return set;
}

}  // namespace

Interrupts::Interrupts() {
  const sigset_t set = Waited();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::jthread([this] { Wait(); });
}

Interrupts::~Interrupts() { pthread_kill(thread_.native_handle(), SIGUSR1); }

void Interrupts::Wait() {
  const sigset_t set = Waited();
  int number = 0;
  while (sigwait(&set, &number) == 0 && number == SIGINT) {
    MutexLock lock(&mutex_);
    if (call_ == nullptr) continue;
    call_->TryCancel();
    cancelled_ = true;
  }
}

bool Interrupts::Watch(grpc::ClientContext* call) {
  MutexLock lock(&mutex_);
  call_ = call;
  return std::exchange(cancelled_, false);
}

}  // namespace llava::client
