// Tells ThreadSanitizer how gRPC 1.51 hands our work from one thread to the next: the
// distribution's libraries are not instrumented, so it cannot see that. Every program of the tsan
// preset that uses gRPC has these definitions, and so they come before the libraries' own. They
// forward to those.
//
// Each edge goes from the one who hands something over to the one who gets it, by way of that thing
// (a batch, a call, a mutex); what gRPC's threads order beyond that stays unseen, so that it hides
// no race of ours. One edge is wider: what comes before any server's start comes before all events.
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <grpcpp/support/client_callback.h>
#include <grpcpp/support/server_callback.h>
#include <sanitizer/tsan_interface.h>

#include <functional>
#include <utility>

#include "absl/synchronization/mutex.h"

namespace {

// The library's definition of what is defined here.
template <typename Function>
Function* Original(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

char server_start;

}  // namespace

extern "C" {

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t nops, void* tag,
                                      void* reserved) {
  static auto* const original = Original<decltype(grpc_call_start_batch)>("grpc_call_start_batch");
  __tsan_release(tag);
  return original(call, ops, nops, tag, reserved);
}

// For synchronous servers and for callbacks: without a background poller, as on Linux, gRPC's own
// threads call this and then run the callback, which is the tag. (Synchronous calls pluck their
// ends in the thread that began them.)
grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline,
                                      void* reserved) {
  static auto* const original =
      Original<decltype(grpc_completion_queue_next)>("grpc_completion_queue_next");
  const grpc_event event = original(queue, deadline, reserved);
  __tsan_acquire(&server_start);  // handlers were made before it
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

void grpc_server_start(grpc_server* server) {
  static auto* const original = Original<decltype(grpc_server_start)>("grpc_server_start");
  __tsan_release(&server_start);
  original(server);
}

}  // extern "C"

namespace grpc::internal {
namespace {

// Work for a thread of gRPC's executor, disguised as the OnDone of a call.
class Job final : public ServerCallbackCall {
 public:
  static void Run(std::function<void()> work) {
    static auto* const schedule_on_done = Original<void(ServerCallbackCall*, bool)>(
        "_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb");
    Job* job = new Job(std::move(work));
    __tsan_release(job);
    schedule_on_done(job, /*inline_ondone=*/false);
  }

 private:
  explicit Job(std::function<void()> work) : work_(std::move(work)) {}

  void CallOnDone() override {
    __tsan_acquire(this);
    work_();
    delete this;
  }
  ServerReactor* reactor() override { return nullptr; }

  const std::function<void()> work_;
};

}  // namespace

void ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  if (inline_ondone) return CallOnDone();
  Job::Run([this] { CallOnDone(); });
}

void ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  on_cancel_conditions_remaining_.load();  // the library may have met the last of them, unseen
  if (reactor->InternalInlineable()) return reactor->OnCancel();
  Ref();
  Job::Run([this, reactor] {
    reactor->OnCancel();
    MaybeDone();
  });
}

void ClientReactor::InternalScheduleOnDone(Status status) {
  Job::Run([this, status] { OnDone(status); });
}

}  // namespace grpc::internal

// For the mutexes of reactors, in gRPC's headers. Hidden, so that the libraries' own locks do not
// come here.
namespace absl {

[[gnu::visibility("hidden")]] void Mutex::Lock() {
  static auto* const original = Original<void(Mutex*)>("_ZN4absl7debian35Mutex4LockEv");
  original(this);
  __tsan_acquire(this);
}

[[gnu::visibility("hidden")]] void Mutex::Unlock() {
  static auto* const original = Original<void(Mutex*)>("_ZN4absl7debian35Mutex6UnlockEv");
  __tsan_release(this);
  original(this);
}

}  // namespace absl
