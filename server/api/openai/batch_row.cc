#include "server/api/openai/batch_row.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/openai/json_body.h"

namespace llava::api {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxDepthOfAnswer = 64;

absl::StatusOr<std::string> TextOf(const json::object& row, const char* field) {
  const json::value* value = row.if_contains(field);
  if (value == nullptr || !value->is_string()) return Wrong(field, value, "text");
  return std::string(value->as_string());
}

std::string Quoted(absl::string_view text) {
  return json::serialize(json::string(text.data(), text.size()));
}

absl::Status CheckKeys(const json::object& row) {
  for (const auto& [key, value] : row) {
    if (key != "custom_id" && key != "method" && key != "url" && key != "body") {
      return FieldError(Utf8Repair(std::string(key).substr(0, 64)), "is not a known field");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BatchRow> ParseBatchRow(absl::string_view line, absl::string_view endpoint) {
  ASSIGN_OR_RETURN(json::object row, ParseJsonObject(line, kMaxJsonDepth + 1));
  RETURN_IF_ERROR(CheckKeys(row));
  BatchRow result;
  ASSIGN_OR_RETURN(result.custom_id, TextOf(row, "custom_id"));
  if (result.custom_id.empty() || result.custom_id.size() > kMaxCustomIdBytes) {
    return FieldError("custom_id", absl::StrCat("has ", result.custom_id.size(),
                                                " bytes, expected 1 to ", kMaxCustomIdBytes));
  }
  ASSIGN_OR_RETURN(const std::string method, TextOf(row, "method"));
  if (method != "POST") return Wrong("method", row.at("method"), "POST");
  ASSIGN_OR_RETURN(const std::string url, TextOf(row, "url"));
  if (url != std::string(endpoint)) {
    return Wrong("url", row.at("url"), absl::StrCat("the batch's endpoint, ", endpoint));
  }
  json::value* body = row.if_contains("body");
  if (body == nullptr || !body->is_object()) return Wrong("body", body, "a JSON object");
  const json::value* stream = body->as_object().if_contains("stream");
  if (stream != nullptr && !stream->is_null() && *stream != json::value(false)) {
    return Wrong("body.stream", stream, "false: a batch's answers are whole");
  }
  body->as_object()["priority"] = "low";
  result.body = json::serialize(*body);
  return result;
}

std::string AnswerLine(absl::string_view custom_id, absl::string_view request_id, int status,
                       absl::string_view body) {
  return absl::StrCat("{\"id\":\"batch_req_", request_id, "\",\"custom_id\":", Quoted(custom_id),
                      ",\"response\":{\"status_code\":", status, ",\"request_id\":\"", request_id,
                      "\",\"body\":", body, "},\"error\":null}");
}

std::string FailureLine(absl::string_view custom_id, absl::string_view request_id,
                        absl::string_view code, absl::string_view message) {
  return absl::StrCat("{\"id\":\"batch_req_", request_id, "\",\"custom_id\":", Quoted(custom_id),
                      ",\"response\":null,\"error\":{\"code\":", Quoted(code),
                      ",\"message\":", Quoted(message), "}}");
}

std::optional<std::string> CustomIdOf(absl::string_view line) {
  const auto value = ParseJson(StdView(line), kMaxDepthOfAnswer);
  if (!value.ok() || !value->is_object()) return std::nullopt;
  const json::value* id = value->as_object().if_contains("custom_id");
  if (id == nullptr || !id->is_string()) return std::nullopt;
  return std::string(id->as_string());
}

}  // namespace llava::api
