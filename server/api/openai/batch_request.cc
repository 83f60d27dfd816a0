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

namespace llava::api {
namespace {

namespace json = boost::json;

constexpr std::int64_t kMinLifetime = 3600;
constexpr std::size_t kMaxNameBytes = 255;
constexpr std::size_t kMaxValueBytes = 64;  // of a part that is not the file
constexpr char kFilePart[] = "file";
constexpr char kPurpose[] = "purpose";
constexpr char kAnchor[] = "expires_after[anchor]";
constexpr char kSeconds[] = "expires_after[seconds]";
constexpr std::size_t kMaxMetadata = 16;
constexpr std::size_t kMaxMetadataKey = 64;
constexpr std::size_t kMaxMetadataValue = 512;

// `given`: as the client has it; null: missing.
absl::Status CheckSeconds(const std::string& field, const json::value* given,
                          std::optional<std::int64_t> seconds) {
  if (seconds && *seconds >= kMinLifetime && *seconds <= kMaxLifetime) return absl::OkStatus();
  return Wrong(field, given, absl::StrCat("seconds in [", kMinLifetime, ", ", kMaxLifetime, "]"));
}

absl::Status CheckAnchor(const std::string& field, const json::value* anchor) {
  if (anchor != nullptr && *anchor == json::value("created_at")) return absl::OkStatus();
  return Wrong(field, anchor, "created_at");
}

json::value TextValue(absl::string_view text) {
  return json::value(json::string_view(text.data(), text.size()));
}

absl::Status CheckFileName(absl::string_view name) {
  const bool fits = !name.empty() && name.size() <= kMaxNameBytes && IsValidUtf8(StdView(name)) &&
                    absl::c_none_of(name, [](char c) { return absl::ascii_iscntrl(c); });
  if (fits) return absl::OkStatus();
  return FieldError("file",
                    absl::StrCat("has a file name of ", name.size(), " bytes, expected 1 to ",
                                 kMaxNameBytes, " bytes of UTF-8 without control characters"));
}

absl::StatusOr<std::string> TextOf(const json::object& body, const char* field) {
  const json::value* value = body.if_contains(field);
  if (value == nullptr || !value->is_string()) return Wrong(field, value, "text");
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
  return Wrong("completion_window", TextValue(window),
               "hours or days, from 1h to 30d, such as 24h");
}

absl::Status ReadLifetime(const json::object& body, BatchRequest* request) {
  const json::value* given = Given(body, "output_expires_after");
  if (given == nullptr) return absl::OkStatus();
  const std::string path = "output_expires_after";
  if (!given->is_object()) return Wrong(path, given, "an object");
  const json::object& after = given->as_object();
  for (const auto& [key, value] : after) {
    if (key != "anchor" && key != "seconds") {
      return FieldError(absl::StrCat(path, ".", Utf8Repair(std::string(key).substr(0, 64))),
                        "is not a known field");
    }
  }
  RETURN_IF_ERROR(CheckAnchor(path + ".anchor", after.if_contains("anchor")));
  const json::value* seconds = after.if_contains("seconds");
  const auto number = seconds == nullptr ? std::nullopt : WholeNumber(*seconds);
  RETURN_IF_ERROR(CheckSeconds(path + ".seconds", seconds, number));
  request->lifetime = *number;
  return absl::OkStatus();
}

absl::Status ReadMetadata(const json::object& body, BatchRequest* request) {
  const json::value* given = Given(body, "metadata");
  if (given == nullptr) return absl::OkStatus();
  if (!given->is_object() || given->as_object().size() > kMaxMetadata) {
    return Wrong("metadata", given, absl::StrCat("an object of at most ", kMaxMetadata, " texts"));
  }
  for (const auto& [key, value] : given->as_object()) {
    if (key.size() <= kMaxMetadataKey && value.is_string() &&
        value.as_string().size() <= kMaxMetadataValue) {
      continue;
    }
    return FieldError("metadata",
                      absl::StrCat("has ", ShownText(AbslView(key)), ": ", ShownValue(value),
                                   ", expected names of at most ", kMaxMetadataKey,
                                   " bytes and texts of at most ", kMaxMetadataValue));
  }
  request->metadata = given->as_object();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FileUploadReader> FileUploadReader::Make(absl::string_view content_type) {
  ASSIGN_OR_RETURN(FormReader form, FormReader::Make(content_type));
  return FileUploadReader(std::move(form));
}

absl::Status FileUploadReader::Read(absl::string_view bytes, std::string* content) {
  form_.Feed(bytes);
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<FormPiece> piece, form_.Next());
    if (!piece.has_value()) return absl::OkStatus();
    if (piece->begins) {
      RETURN_IF_ERROR(BeginPart(*std::move(piece)));
      continue;
    }
    std::string* const into = part_ == kFilePart ? content : &value_;
    into->append(piece->content.data(), piece->content.size());
    if (value_.size() > kMaxValueBytes) {
      return Wrong(part_, TextValue(value_), absl::StrCat("at most ", kMaxValueBytes, " bytes"));
    }
  }
}

absl::Status FileUploadReader::BeginPart(FormPiece piece) {
  RETURN_IF_ERROR(EndPart());
  part_ = std::move(piece.name);
  value_.clear();
  if (part_ == kFilePart) {
    if (std::exchange(has_file_, true)) return FieldError(part_, "stands there twice");
    RETURN_IF_ERROR(CheckFileName(piece.file_name));
    upload_.name = std::move(piece.file_name);
    return absl::OkStatus();
  }
  if (part_ == kPurpose || part_ == kAnchor || part_ == kSeconds) return absl::OkStatus();
  return FieldError(Utf8Repair(part_.substr(0, 64)), "is not a known part");
}

absl::Status FileUploadReader::EndPart() {
  if (part_ == kPurpose) {
    if (value_ != "batch") return Wrong(part_, TextValue(value_), "batch");
    upload_.purpose = value_;
  }
  const json::value given = TextValue(value_);
  if (part_ == kAnchor) return CheckAnchor(part_, &given);
  if (part_ != kSeconds) return absl::OkStatus();
  std::int64_t seconds = 0;
  if (!absl::SimpleAtoi(value_, &seconds)) seconds = 0;
  upload_.lifetime = seconds;
  return CheckSeconds(part_, &given, seconds);
}

absl::StatusOr<FileUpload> FileUploadReader::Finish() {
  RETURN_IF_ERROR(form_.Finish());
  RETURN_IF_ERROR(EndPart());
  if (!has_file_) return Missing(kFilePart, "a part with the file");
  if (upload_.purpose.empty()) return Missing(kPurpose, "batch");
  return std::move(upload_);
}

absl::StatusOr<BatchRequest> ParseBatchRequest(absl::string_view text) {
  ASSIGN_OR_RETURN(const json::object body, ParseJsonObject(text));
  RETURN_IF_ERROR(CheckKeys(body));
  BatchRequest request;
  ASSIGN_OR_RETURN(request.input_file, TextOf(body, "input_file_id"));
  ASSIGN_OR_RETURN(request.endpoint, TextOf(body, "endpoint"));
  if (request.endpoint != "/v1/chat/completions" && request.endpoint != "/v1/score") {
    return Wrong("endpoint", TextValue(request.endpoint), "/v1/chat/completions or /v1/score");
  }
  ASSIGN_OR_RETURN(request.window, TextOf(body, "completion_window"));
  ASSIGN_OR_RETURN(request.window_seconds, WindowSeconds(request.window));
  RETURN_IF_ERROR(ReadMetadata(body, &request));
  RETURN_IF_ERROR(ReadLifetime(body, &request));
  return request;
}

}  // namespace llava::api
