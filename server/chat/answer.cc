#include "server/chat/answer.h"

#include <cstddef>
#include <utility>
#include <variant>

namespace llava::api {
namespace {

void Append(ToolCallReader::Output more, AnswerDelta* delta) {
  delta->text += more.content;
  for (CallDelta& call : more.calls) delta->calls.push_back(std::move(call));
}

}  // namespace

std::optional<AnswerEvent> Answer::TryPop(std::function<void()> when_ready) {
  std::optional<engine::StreamEvent> event = stream_.TryPop(std::move(when_ready));
  if (!event.has_value()) return std::nullopt;
  if (auto* delta = std::get_if<engine::Delta>(&*event)) {
    record_->Add(*delta);
    return FindCalls(std::move(*delta));
  }
  auto& end = std::get<engine::End>(*event);
  record_->End(end.status, end.usage);
  return std::move(end);
}

AnswerDelta Answer::FindCalls(engine::Delta delta) {
  AnswerDelta found{std::move(delta), {}};
  if (!calls_.has_value()) return found;
  const auto choice = static_cast<std::size_t>(found.choice);
  while (readers_.size() <= choice) readers_.emplace_back(*calls_);
  ToolCallReader& reader = readers_[choice];
  Append(reader.Push(std::exchange(found.text, "")), &found);
  if (found.finish != scheduling::FinishReason::kNone) Append(reader.Finish(), &found);
  found.has_calls = reader.has_calls();
  found.may_call = true;
  return found;
}

}  // namespace llava::api
