#include "training/endpoint/chat_request.h"

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxPictureBytes = std::size_t{64} << 20;
constexpr std::int64_t kTokensOfAMessage = 16;  // its role, and what separates it from the next
constexpr std::int64_t kMostTokensOfAPicture = 4096;

absl::StatusOr<std::string_view> MediaType(std::string_view bytes, const std::string& file) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kTypes = {{
      {"\xff\xd8\xff", "image/jpeg"},
      {"\x89PNG", "image/png"},
      {"GIF8", "image/gif"},
      {"RIFF", "image/webp"},
      {"BM", "image/bmp"},
  }};
  for (const auto& [begin, type] : kTypes) {
    if (bytes.substr(0, begin.size()) == begin) return type;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": is no JPEG, PNG, GIF, WebP or BMP, expected a picture"));
}

absl::StatusOr<json::value> Picture(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file, kMaxPictureBytes));
  ASSIGN_OR_RETURN(const std::string_view type, MediaType(bytes, file));
  const std::string url =
      absl::StrCat("data:", AbslView(type), ";base64,", absl::Base64Escape(bytes));
  return json::object{{"type", "image_url"}, {"image_url", json::object{{"url", url}}}};
}

absl::StatusOr<json::value> Content(const EndpointMessage& message) {
  if (message.images.empty()) return json::value(message.text);
  json::array parts;
  for (const std::string& file : message.images) {
    ASSIGN_OR_RETURN(json::value picture, Picture(file));
    parts.push_back(std::move(picture));
  }
  parts.push_back(json::object{{"type", "text"}, {"text", message.text}});
  return json::value(std::move(parts));
}

}  // namespace

std::string RequestPath(const ChatRequest& request) {
  return request.choices.empty() ? "/chat/completions" : "/score";
}

absl::StatusOr<std::string> RequestBody(const std::string& model, const ChatRequest& request) {
  json::array messages;
  for (const EndpointMessage& message : request.messages) {
    ASSIGN_OR_RETURN(json::value content, Content(message));
    messages.push_back(json::object{{"role", message.role}, {"content", std::move(content)}});
  }
  json::object body{{"model", model}, {"messages", std::move(messages)}};
  if (!request.choices.empty()) {
    json::array choices;
    for (const std::string& choice : request.choices) choices.push_back(json::string(choice));
    body["choices"] = std::move(choices);
    return json::serialize(body);
  }
  body["temperature"] = request.temperature;
  body["max_tokens"] = request.max_tokens;
  if (request.seed.has_value()) body["seed"] = *request.seed;
  return json::serialize(body);
}

Digest RequestKey(const std::string& body) { return Sha256Of(body); }

std::int64_t MostPromptTokens(const ChatRequest& request) {
  std::int64_t tokens = 0;
  for (const EndpointMessage& message : request.messages) {
    tokens += kTokensOfAMessage + std::ssize(message.text) +
              kMostTokensOfAPicture * std::ssize(message.images);
  }
  return tokens;
}

}  // namespace llava::training
