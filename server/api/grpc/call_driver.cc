#include "server/api/grpc/call_driver.h"

#include <utility>
#include <variant>

namespace llava::api {

void CallDriver::Run(ChatCall call) {
  call.cancelled = cancelled_;
  runner_->Start(std::move(call),
                 [this](absl::StatusOr<Answer> answer) { OnStarted(std::move(answer)); });
}

void CallDriver::OnStarted(absl::StatusOr<Answer> answer) {
  OnPrepared();
  if (!answer.ok()) {
    engine::End end;
    end.status = answer.status();
    return OnEnd(nullptr, end);
  }
  {
    MutexLock lock(&mutex_);
    answer_ = *std::move(answer);
    started_ = true;
    if (cancelled_->load()) answer_.Cancel();
  }
  io_->Post([this] { Pump(); });
}

void CallDriver::Cancel() {
  cancelled_->store(true);
  MutexLock lock(&mutex_);
  if (started_) answer_.Cancel();
}

// At most one Pump runs or is due at a time: after `when_ready` was armed only it starts one, and
// after OnDelta returned false only Resume does.
void CallDriver::Pump() {
  for (;;) {
    auto event = answer_.TryPop([this] { io_->Post([this] { Pump(); }); });
    if (!event.has_value()) return;
    if (const auto* end = std::get_if<engine::End>(&*event)) return OnEnd(&answer_, *end);
    if (!OnDelta(answer_, std::get<AnswerDelta>(*std::move(event)))) return;
  }
}

}  // namespace llava::api
