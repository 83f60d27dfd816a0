// Runs one call and hands its answer, event by event, to a subclass. What gRPC's reactors share.
#ifndef LLAVA_SERVER_API_GRPC_CALL_DRIVER_H_
#define LLAVA_SERVER_API_GRPC_CALL_DRIVER_H_

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "server/chat/answer.h"
#include "server/chat/chat_runner.h"
#include "server/chat/io_pool.h"

namespace llava::api {

// Events are handed over one at a time, in io threads or in the thread that calls Resume.
class CallDriver {
 public:
  virtual ~CallDriver() = default;

 protected:
  // Both outlive the driver.
  CallDriver(ChatRunner* runner, IoPool* io) : runner_(runner), io_(io) {}

  // Call once. Afterwards OnEnd is called exactly once, also when the call is refused (then
  // possibly before Run returns).
  void Run(ChatCall call);

  // Stops the call's work; OnEnd still comes. Any thread, any number of times.
  void Cancel();

  // Goes on after OnDelta returned false.
  void Resume() { Pump(); }

  // The call was prepared or refused: nobody reads the bytes of its images any more. Called once,
  // before OnDelta and OnEnd.
  virtual void OnPrepared() = 0;

  // False: the next event waits for Resume(), which may come at once from another thread.
  virtual bool OnDelta(const Answer& answer, AnswerDelta delta) = 0;

  // `answer` is null when the call was refused. The driver may be destroyed from here on.
  virtual void OnEnd(const Answer* answer, const engine::End& end) = 0;

 private:
  void OnStarted(absl::StatusOr<Answer> answer);
  void Pump();

  ChatRunner* const runner_;
  IoPool* const io_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  Mutex mutex_;  // of the hand-over in OnStarted; afterwards answer_ does not move
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  Answer answer_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_GRPC_CALL_DRIVER_H_
