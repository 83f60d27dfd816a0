#include "client/conversation.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "client/connection.h"

namespace llava::client {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxImageBytes = std::size_t{256} << 20;

std::string DataUri(const std::string& image) {
  const char* type = absl::StartsWith(image, "\x89PNG")    ? "png"
                     : absl::StartsWith(image, "\xff\xd8") ? "jpeg"
                     : absl::StartsWith(image, "BM")       ? "bmp"
                                                           : "webp";
  return absl::StrCat("data:image/", type, ";base64,", absl::Base64Escape(image));
}

json::object ToJson(const v1::MessagePart& part) {
  if (part.has_image()) {
    return {{"type", "image_url"}, {"image_url", {{"url", DataUri(part.image())}}}};
  }
  return {{"type", "text"}, {"text", Utf8Repair(part.text())}};
}

const char* NameOf(v1::Role role) {
  if (role == v1::ROLE_SYSTEM) return "system";
  return role == v1::ROLE_ASSISTANT ? "assistant" : "user";
}

}  // namespace

absl::Status Conversation::AddImage(const std::string& path) {
  ASSIGN_OR_RETURN(std::string bytes, ReadFile(path, kMaxImageBytes));
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

absl::Status Conversation::Save(const std::string& path) const {
  json::array messages;
  for (const v1::ChatMessage& message : messages_) {
    json::array parts;
    for (const v1::MessagePart& part : message.parts()) parts.push_back(ToJson(part));
    messages.push_back({{"role", NameOf(message.role())}, {"content", std::move(parts)}});
  }
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary);
  file << json::serialize(json::object{{"messages", std::move(messages)}}) << '\n';
  file.close();
  if (file.fail() || std::rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(
        absl::StrCat(path, ": cannot be written: ", std::strerror(errno)));
  }
  return absl::OkStatus();
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
