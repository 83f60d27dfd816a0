#include "server/chat/answer.h"

#include <utility>
#include <variant>

namespace llava::api {

std::optional<engine::StreamEvent> Answer::TryPop(std::function<void()> when_ready) {
  std::optional<engine::StreamEvent> event = stream_.TryPop(std::move(when_ready));
  if (!event.has_value()) return event;
  if (const auto* delta = std::get_if<engine::Delta>(&*event)) {
    record_->Add(*delta);
  } else {
    const auto& end = std::get<engine::End>(*event);
    record_->End(end.status, end.usage);
  }
  return event;
}

}  // namespace llava::api
