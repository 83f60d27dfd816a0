#include "model/text/chat_message.h"

#include <utility>

namespace llava::model {

std::vector<PromptPart> PromptWriter::Take() { return std::move(parts_); }

void PromptWriter::Text(std::string_view text, bool control) {
  if (text.empty()) return;
  if (!parts_.empty()) {
    auto* last = std::get_if<TextPart>(&parts_.back());
    if (last != nullptr && last->control == control) {
      last->text += text;
      return;
    }
  }
  parts_.emplace_back(TextPart{std::string(text), control});
}

std::string PromptText(std::span<const PromptPart> parts) {
  std::string text;
  for (const PromptPart& part : parts) {
    const auto* run = std::get_if<TextPart>(&part);
    text += run == nullptr ? "<image>" : run->text;
  }
  return text;
}

}  // namespace llava::model
