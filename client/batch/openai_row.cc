#include "client/batch/openai_row.h"

#include <boost/json.hpp>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "client/batch/row_fields.h"

namespace llava::client {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

absl::Status NotKnown(std::string_view name) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::string_view(name.data(), name.size()),
                   "\" is not known here; POST the row to the server's own endpoint"));
}

absl::StatusOr<std::string> PictureOf(const std::string& url, const fs::path& folder) {
  if (!url.starts_with("data:")) {
    if (url.find("://") != url.npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("the picture's url is ", url, ", expected a data: URI or a path"));
    }
    return ReadFile(folder / url, kMaxPictureBytes);
  }
  const std::size_t comma = url.find(',');
  std::string bytes;
  if (comma == url.npos || !std::string_view(url).substr(0, comma).ends_with(";base64") ||
      !absl::Base64Unescape(absl::string_view(url).substr(comma + 1), &bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the picture's url is ", url.substr(0, 40), "..., expected data:...;base64,"));
  }
  return bytes;
}

absl::Status AddPart(const json::value& part, const fs::path& folder, v1::ChatMessage* message) {
  const json::value* type = part.is_object() ? part.as_object().if_contains("type") : nullptr;
  if (type != nullptr && *type == "text") {
    const json::value* text = part.as_object().if_contains("text");
    if (text == nullptr) return WrongField("content", part, "a text in the part");
    ASSIGN_OR_RETURN(*message->add_parts()->mutable_text(), TextOf("text", *text));
    return absl::OkStatus();
  }
  if (type == nullptr || *type != "image_url") {
    return WrongField("content", part, "parts of the types text and image_url");
  }
  const json::value* image = part.as_object().if_contains("image_url");
  const json::value* url = image == nullptr     ? nullptr
                           : image->is_object() ? image->as_object().if_contains("url")
                                                : image;
  if (url == nullptr) return WrongField("image_url", part, "{\"url\": ...}");
  ASSIGN_OR_RETURN(const std::string text, TextOf("url", *url));
  ASSIGN_OR_RETURN(*message->add_parts()->mutable_image(), PictureOf(text, folder));
  return absl::OkStatus();
}

absl::Status AddMessage(const json::value& value, const fs::path& folder,
                        v1::ChatRequest* request) {
  if (!value.is_object()) return WrongField("messages", value, "objects with role and content");
  v1::ChatMessage* message = request->add_messages();
  for (const auto& [key, field] : value.as_object()) {
    if (key == "role") {
      message->set_role(field == "system" || field == "developer" ? v1::ROLE_SYSTEM
                        : field == "user"                         ? v1::ROLE_USER
                        : field == "assistant"                    ? v1::ROLE_ASSISTANT
                                                                  : v1::ROLE_UNSPECIFIED);
      if (message->role() == v1::ROLE_UNSPECIFIED) {
        return WrongField(key, field, "system, user or assistant");
      }
    } else if (key == "content" && field.is_string()) {
      message->add_parts()->set_text(std::string(field.as_string()));
    } else if (key == "content" && field.is_array()) {
      for (const json::value& part : field.as_array()) {
        RETURN_IF_ERROR(AddPart(part, folder, message));
      }
    } else if (key == "content") {
      return WrongField(key, field, "text or a list of parts");
    } else {
      return NotKnown(key);
    }
  }
  return absl::OkStatus();
}

absl::Status SetStop(const json::value& value, v1::SamplingOptions* sampling) {
  sampling->clear_stop();
  if (value.is_string()) {
    sampling->add_stop(std::string(value.as_string()));
    return absl::OkStatus();
  }
  if (!value.is_array()) return WrongField("stop", value, "text or a list of text");
  for (const json::value& item : value.as_array()) {
    ASSIGN_OR_RETURN(*sampling->add_stop(), TextOf("stop", item));
  }
  return absl::OkStatus();
}

absl::Status SetSampling(std::string_view name, const json::value& value,
                         v1::SamplingOptions* sampling) {
  if (name == "stop") return SetStop(value, sampling);
  boost::system::error_code error;
  if (name == "max_tokens" || name == "max_completion_tokens") {
    const auto tokens = value.to_number<std::int32_t>(error);
    if (error) return WrongField(name, value, "an integer");
    sampling->set_max_tokens(tokens);
  } else if (name == "seed") {
    const auto seed = value.to_number<std::uint64_t>(error);
    if (error) return WrongField(name, value, "an integer");
    sampling->set_seed(seed);
  } else {
    const auto number = value.to_number<double>(error);
    if (error) return WrongField(name, value, "a number");
    if (name == "temperature") {
      sampling->set_temperature(number);
    } else if (name == "top_p") {
      sampling->set_top_p(number);
    } else if (name == "presence_penalty") {
      sampling->set_presence_penalty(number);
    } else if (name == "frequency_penalty") {
      sampling->set_frequency_penalty(number);
    } else {
      return NotKnown(name);
    }
  }
  return absl::OkStatus();
}

absl::Status FillFromBody(const json::object& body, const fs::path& folder,
                          v1::ChatRequest* request) {
  request->clear_messages();
  for (const auto& [key, value] : body) {
    if (value.is_null()) continue;  // as if it were not there
    if (key == "model") {
      if (!request->model().empty()) continue;  // --model goes before
      ASSIGN_OR_RETURN(*request->mutable_model(), TextOf(key, value));
    } else if (key == "messages") {
      if (!value.is_array()) return WrongField(key, value, "a list");
      for (const json::value& message : value.as_array()) {
        RETURN_IF_ERROR(AddMessage(message, folder, request));
      }
    } else if (key == "stream" || key == "n") {
      if (value != json::value(false) && value != json::value(1)) {
        return WrongField(key, value, "one whole answer");
      }
    } else {
      RETURN_IF_ERROR(SetSampling(key, value, request->mutable_sampling()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FillFromOpenAi(const json::object& row, const fs::path& folder,
                            v1::ChatRequest* request) {
  for (const auto& [key, value] : row) {
    if (key == "custom_id") continue;
    if (key == "method") {
      if (value != "POST") return WrongField(key, value, "POST");
    } else if (key == "url") {
      if (value != "/v1/chat/completions") return WrongField(key, value, "/v1/chat/completions");
    } else if (key == "body") {
      if (!value.is_object()) return WrongField(key, value, "an object");
      RETURN_IF_ERROR(FillFromBody(value.as_object(), folder, request));
    } else {
      return NotKnown(key);
    }
  }
  if (request->messages().empty()) {
    return absl::InvalidArgumentError("\"body\" has no messages, expected at least one");
  }
  return absl::OkStatus();
}

}  // namespace llava::client
