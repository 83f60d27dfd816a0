#include "server/api/openai/batch_request.h"

#include <boost/json/value.hpp>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/openai/json_body.h"
#include "server/api/openai/multipart.h"

namespace llava::api {
namespace {

namespace json = boost::json;

constexpr std::int64_t kMinLifetime = 3600;
constexpr std::size_t kMaxNameBytes = 255;
constexpr std::size_t kMaxMetadata = 16;
constexpr std::size_t kMaxMetadataKey = 64;
constexpr std::size_t kMaxMetadataValue = 512;

absl::Status CheckSeconds(const std::string& field, std::optional<std::int64_t> seconds) {
  if (seconds && *seconds >= kMinLifetime && *seconds <= kMaxLifetime) return absl::OkStatus();
  return FieldError(field,
                    absl::StrCat("expected seconds in [", kMinLifetime, ", ", kMaxLifetime, "]"));
}

absl::Status CheckAnchor(const std::string& field, absl::string_view anchor) {
  if (anchor == "created_at") return absl::OkStatus();
  return FieldError(field, "expected created_at");
}

absl::Status CheckFileName(absl::string_view name) {
  const bool fits = !name.empty() && name.size() <= kMaxNameBytes && IsValidUtf8(StdView(name)) &&
                    absl::c_none_of(name, [](char c) { return absl::ascii_iscntrl(c); });
  if (fits) return absl::OkStatus();
  return FieldError("file",
                    absl::StrCat("has a file name of ", name.size(), " bytes, expected 1 to ",
                                 kMaxNameBytes, " bytes of UTF-8 without control characters"));
}

absl::Status TakePart(const FormPart& part, FileUpload* upload, bool* has_file) {
  if (part.name == "file") {
    if (std::exchange(*has_file, true)) return FieldError("file", "stands there twice");
    upload->name = std::string(part.file_name);
    upload->content = part.content;
    return CheckFileName(part.file_name);
  }
  if (part.name == "purpose") {
    if (part.content != "batch") return FieldError("purpose", "expected batch");
    upload->purpose = "batch";
    return absl::OkStatus();
  }
  const std::string name(part.name);
  if (part.name == "expires_after[anchor]") return CheckAnchor(name, part.content);
  if (part.name == "expires_after[seconds]") {
    std::int64_t seconds = 0;
    if (!absl::SimpleAtoi(part.content, &seconds)) seconds = 0;
    upload->lifetime = seconds;
    return CheckSeconds(name, seconds);
  }
  return FieldError(Utf8Repair(name.substr(0, 64)), "is not a known part");
}

absl::StatusOr<std::string> TextOf(const json::object& body, const char* field) {
  const json::value* value = body.if_contains(field);
  if (value == nullptr || !value->is_string()) return FieldError(field, "expected text");
  return std::string(value->as_string());
}

const json::value* Given(const json::object& body, const char* field) {
  const json::value* value = body.if_contains(field);
  return value == nullptr || value->is_null() ? nullptr : value;
}

absl::Status CheckKeys(const json::object& body) {
  for (const auto& [key, value] : body) {
    if (key != "input_file_id" && key != "endpoint" && key != "completion_window" &&
        key != "metadata" && key != "output_expires_after") {
      return FieldError(Utf8Repair(std::string(key).substr(0, 64)), "is not a known field");
    }
  }
  return absl::OkStatus();
}

// "24h" or "7d".
absl::StatusOr<std::int64_t> WindowSeconds(absl::string_view window) {
  std::int64_t count = 0;
  const bool is_days = !window.empty() && window.back() == 'd';
  const bool is_hours = !window.empty() && window.back() == 'h';
  const std::int64_t unit = is_days ? 86400 : 3600;
  if ((is_days || is_hours) && absl::ascii_isdigit(window.front()) &&
      absl::SimpleAtoi(window.substr(0, window.size() - 1), &count) && count >= 1 &&
      count <= kMaxLifetime / unit) {
    return count * unit;
  }
  return FieldError("completion_window", "expected hours or days, from 1h to 30d, such as 24h");
}

absl::Status ReadLifetime(const json::object& body, BatchRequest* request) {
  const json::value* given = Given(body, "output_expires_after");
  if (given == nullptr) return absl::OkStatus();
  const std::string path = "output_expires_after";
  if (!given->is_object()) return FieldError(path, "expected an object");
  const json::object& after = given->as_object();
  for (const auto& [key, value] : after) {
    if (key != "anchor" && key != "seconds") {
      return FieldError(absl::StrCat(path, ".", Utf8Repair(std::string(key).substr(0, 64))),
                        "is not a known field");
    }
  }
  const json::value* anchor = after.if_contains("anchor");
  const bool is_text = anchor != nullptr && anchor->is_string();
  RETURN_IF_ERROR(
      CheckAnchor(path + ".anchor", is_text ? AbslView(anchor->as_string()) : absl::string_view()));
  const json::value* seconds = after.if_contains("seconds");
  const auto number = seconds == nullptr ? std::nullopt : WholeNumber(*seconds);
  RETURN_IF_ERROR(CheckSeconds(path + ".seconds", number));
  request->lifetime = *number;
  return absl::OkStatus();
}

absl::Status ReadMetadata(const json::object& body, BatchRequest* request) {
  const json::value* given = Given(body, "metadata");
  if (given == nullptr) return absl::OkStatus();
  if (!given->is_object() || given->as_object().size() > kMaxMetadata) {
    return FieldError("metadata",
                      absl::StrCat("expected an object of at most ", kMaxMetadata, " texts"));
  }
  for (const auto& [key, value] : given->as_object()) {
    if (key.size() <= kMaxMetadataKey && value.is_string() &&
        value.as_string().size() <= kMaxMetadataValue) {
      continue;
    }
    return FieldError("metadata", absl::StrCat("expected names of at most ", kMaxMetadataKey,
                                               " bytes and texts of at most ", kMaxMetadataValue));
  }
  request->metadata = given->as_object();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FileUpload> ParseFileUpload(absl::string_view content_type, absl::string_view body) {
  ASSIGN_OR_RETURN(const auto parts, ParseForm(content_type, body));
  FileUpload upload;
  bool has_file = false;
  for (const FormPart& part : parts) RETURN_IF_ERROR(TakePart(part, &upload, &has_file));
  if (!has_file) return FieldError("file", "is missing, expected a part with the file");
  if (upload.purpose.empty()) return FieldError("purpose", "is missing, expected batch");
  return upload;
}

absl::StatusOr<BatchRequest> ParseBatchRequest(absl::string_view text) {
  ASSIGN_OR_RETURN(const json::object body, ParseJsonObject(text));
  RETURN_IF_ERROR(CheckKeys(body));
  BatchRequest request;
  ASSIGN_OR_RETURN(request.input_file, TextOf(body, "input_file_id"));
  ASSIGN_OR_RETURN(request.endpoint, TextOf(body, "endpoint"));
  if (request.endpoint != "/v1/chat/completions" && request.endpoint != "/v1/score") {
    return FieldError("endpoint", "expected /v1/chat/completions or /v1/score");
  }
  ASSIGN_OR_RETURN(request.window, TextOf(body, "completion_window"));
  ASSIGN_OR_RETURN(request.window_seconds, WindowSeconds(request.window));
  RETURN_IF_ERROR(ReadMetadata(body, &request));
  RETURN_IF_ERROR(ReadLifetime(body, &request));
  return request;
}

}  // namespace llava::api
