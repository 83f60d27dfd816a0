#include "client/conversation.h"

#include <utility>

#include "base/status_macros.h"
#include "client/connection.h"

namespace llava::client {

absl::Status Conversation::AddImage(const std::string& path) {
  ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  images_.push_back(std::move(bytes));
  return absl::OkStatus();
}

v1::ChatRequest Conversation::Ask(const std::string& question, const v1::ChatRequest& settings) {
  v1::ChatMessage message;
  message.set_role(v1::ROLE_USER);
  for (std::string& image : images_) message.add_parts()->set_image(std::move(image));
  images_.clear();
  message.add_parts()->set_text(question);
  messages_.push_back(std::move(message));
  v1::ChatRequest request = settings;
  for (const v1::ChatMessage& said : messages_) *request.add_messages() = said;
  return request;
}

void Conversation::Answered(const std::string& text) {
  v1::ChatMessage message;
  message.set_role(v1::ROLE_ASSISTANT);
  message.add_parts()->set_text(text);
  messages_.push_back(std::move(message));
}

void Conversation::Reset() {
  messages_.clear();
  images_.clear();
}

void Conversation::SetSystem(const std::string& text) {
  v1::ChatMessage message;
  message.set_role(v1::ROLE_SYSTEM);
  message.add_parts()->set_text(text);
  messages_.insert(messages_.begin(), std::move(message));
}

}  // namespace llava::client
