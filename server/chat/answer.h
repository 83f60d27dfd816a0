// An answer on its way to a client: the engine's stream, with the model's name and version, and the
// bookkeeping of the call (log line, metrics, place in the drain gate) done once when it ends.
#ifndef LLAVA_SERVER_CHAT_ANSWER_H_
#define LLAVA_SERVER_CHAT_ANSWER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/chat/call_record.h"
#include "server/chat/tool_call_reader.h"
#include "server/engine/token_stream.h"
#include "server/registry/served_model.h"

namespace llava::api {

// The text of a delta is without the calls that were found in it.
struct AnswerDelta : engine::Delta {
  std::vector<CallDelta> calls;
  bool has_calls = false;  // the choice has some, here or before
  bool may_call = false;   // functions were offered
};

using AnswerEvent = std::variant<AnswerDelta, engine::End>;

// Movable; one thread at a time. Destroying it before its End cancels the request.
class Answer {
 public:
  Answer() = default;  // empty; only assignment and destruction are allowed
  Answer(std::shared_ptr<const registry::ServedModel> model, engine::TokenStream stream,
         std::unique_ptr<CallRecord> record,
         std::optional<ToolCallReader::Options> calls = std::nullopt,
         std::vector<int> scored_tokens = {})
      : model_(std::move(model)),
        record_(std::move(record)),
        calls_(std::move(calls)),
        scored_tokens_(std::move(scored_tokens)),
        stream_(std::move(stream)) {}

  // See engine::TokenStream::TryPop.
  std::optional<AnswerEvent> TryPop(std::function<void()> when_ready);

  // Any thread.
  void Cancel() { stream_.Cancel(); }

  const registry::ServedModel& model() const { return *model_; }
  Duration prepare_time() const { return record_->prepare_time; }
  int images() const { return record_->images; }
  // How many tokens each of the call's continuations has; its choice may have an end behind them.
  const std::vector<int>& scored_tokens() const { return scored_tokens_; }

 private:
  std::shared_ptr<const registry::ServedModel> model_;
  AnswerDelta FindCalls(engine::Delta delta);

  std::unique_ptr<CallRecord> record_;
  std::optional<ToolCallReader::Options> calls_;  // none: no functions were offered
  std::vector<ToolCallReader> readers_;           // by choice
  std::vector<int> scored_tokens_;
  engine::TokenStream stream_;  // goes first: it may wait for a `when_ready` under way
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_ANSWER_H_
