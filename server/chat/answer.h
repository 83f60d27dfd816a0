// An answer on its way to a client: the engine's stream, with the model's name and version, and the
// bookkeeping of the call (log line, metrics, place in the drain gate) done once when it ends.
#ifndef LLAVA_SERVER_CHAT_ANSWER_H_
#define LLAVA_SERVER_CHAT_ANSWER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/chat/call_record.h"
#include "server/engine/token_stream.h"
#include "server/registry/served_model.h"

namespace llava::api {

// Movable; one thread at a time. Destroying it before its End cancels the request.
class Answer {
 public:
  Answer() = default;  // empty; only assignment and destruction are allowed
  Answer(std::shared_ptr<const registry::ServedModel> model, engine::TokenStream stream,
         std::unique_ptr<CallRecord> record)
      : model_(std::move(model)), record_(std::move(record)), stream_(std::move(stream)) {}

  // See engine::TokenStream::TryPop.
  std::optional<engine::StreamEvent> TryPop(std::function<void()> when_ready);

  // Any thread.
  void Cancel() { stream_.Cancel(); }

  const registry::ServedModel& model() const { return *model_; }
  Duration prepare_time() const { return record_->prepare_time; }
  int images() const { return record_->images; }

 private:
  std::shared_ptr<const registry::ServedModel> model_;
  std::unique_ptr<CallRecord> record_;
  engine::TokenStream stream_;  // goes first: it may wait for a `when_ready` under way
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_ANSWER_H_
