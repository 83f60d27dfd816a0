#include "server/chat/captured_turn.h"

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "capture/row.h"

namespace llava::api {
namespace {

using capture::Drop;

// Why nothing of the call is kept, whatever was said in it.
std::optional<Drop> KindOf(const ChatCall& call, capture::Agreement agreement) {
  if (!call.continuations.empty()) return Drop::kScore;
  if (call.n != 1) return Drop::kChoices;
  if (call.tools.is_offered()) return Drop::kTools;
  if (!call.images.empty() && agreement != capture::Agreement::kPictures) return Drop::kPictures;
  return std::nullopt;
}

// A message as a row has it, with a mark for each picture, whose file is added to the row. Its
// texts and pictures are put together as training reads such lists of parts.
std::optional<Drop> AddText(const model::ChatMessage& message, const ChatCall& call,
                            std::string* text, capture::Row* row) {
  bool after_text = false;
  for (const model::MessagePart& part : message.parts) {
    const auto* said = std::get_if<std::string>(&part);
    if (said == nullptr) {
      const auto index = static_cast<std::size_t>(std::get<model::ImagePart>(part).index);
      absl::StrAppend(text, after_text ? "\n" : "", capture::kPictureMark, "\n");
      row->pictures.emplace_back(call.images[index].bytes);
      after_text = false;
      continue;
    }
    if (capture::HasMark(*said)) return Drop::kMark;
    absl::StrAppend(text, after_text ? "\n" : "", *said);
    after_text = true;
  }
  return text->empty() ? std::optional(Drop::kForm) : std::nullopt;
}

// Human and model in turn, behind a system message if there is one.
std::optional<Drop> AddMessages(const ChatCall& call, capture::Row* row) {
  for (const model::ChatMessage& message : call.messages) {
    if (message.role == model::Role::kTool || !message.tool_calls.empty()) return Drop::kTools;
    const bool is_first = row->said.empty() && row->system.empty();
    if (message.role == model::Role::kSystem) {
      if (!is_first) return Drop::kForm;
      if (const auto drop = AddText(message, call, &row->system, row)) return drop;
      continue;
    }
    const bool is_answers_turn = row->said.size() % 2 == 1;
    if (is_answers_turn != (message.role == model::Role::kAssistant)) return Drop::kForm;
    if (const auto drop = AddText(message, call, &row->said.emplace_back(), row)) return drop;
  }
  return row->said.empty() ? std::optional(Drop::kForm) : std::nullopt;
}

}  // namespace

std::unique_ptr<capture::PendingTurn> CaptureTurn(const ChatCall& call,
                                                  capture::Recorder& recorder) {
  const capture::Agreement agreement = recorder.AgreedBy(call.tenant);
  if (agreement == capture::Agreement::kNothing) return nullptr;
  capture::Row row;
  std::optional<Drop> drop = KindOf(call, agreement);
  if (!drop.has_value()) drop = AddMessages(call, &row);
  if (drop.has_value()) {
    recorder.Count(*drop);
    return nullptr;
  }
  row.id = call.request_id;
  row.tenant = call.tenant;
  row.sampling = call.sampling;
  row.sampling.constraint = nullptr;  // belongs to a version, which may go before the row does
  row.is_constrained = call.format.has_value();
  // Asked for the rest of an answer, the model continues what the client has of it.
  std::string begun;
  if (row.said.size() % 2 == 0) {
    begun = std::move(row.said.back());
    row.said.pop_back();
  }
  return recorder.Hold(std::move(row), std::move(begun));
}

}  // namespace llava::api
