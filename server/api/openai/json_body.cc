#include "server/api/openai/json_body.h"

#include <algorithm>
#include <boost/json/parser.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/json_reader.h"
#include "base/utf8_stream.h"

namespace llava::api {
namespace {

namespace json = boost::json;

// The end of the string that begins before `at`: after its closing quote, or the end of the text.
std::size_t SkipString(absl::string_view text, std::size_t at) {
  while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
  return std::min(at + 1, text.size());
}

// At most so many: each but the first stands behind a comma or an opening bracket.
std::size_t CountValues(absl::string_view text) {
  std::size_t values = 1;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at++];
    if (c == '"') at = SkipString(text, at);
    if (c == ',' || c == '[' || c == '{') ++values;
  }
  return values;
}

absl::Status FaultAt(absl::string_view text, std::size_t at, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the body: ", PlaceInText(StdView(text), at), ": ", what));
}

}  // namespace

absl::StatusOr<json::object> ParseJsonObject(absl::string_view text, std::size_t max_depth) {
  if (CountValues(text) > kMaxJsonValues) {
    return absl::InvalidArgumentError(
        absl::StrCat("the body: expected at most ", kMaxJsonValues, " JSON values"));
  }
  json::parse_options options;
  options.max_depth = max_depth;
  json::parser parser({}, options);
  json::error_code error;
  text = AbslView(WithoutByteOrderMark(StdView(text)));
  const std::size_t read = parser.write(text.data(), text.size(), error);
  if (error) return FaultAt(text, read, error.message());
  json::value value = parser.release();
  if (!value.is_object()) return absl::InvalidArgumentError("the body: expected a JSON object");
  return std::move(value.as_object());
}

std::optional<std::int64_t> WholeNumber(const json::value& value) {
  if (value.is_int64()) return value.as_int64();
  const double* number = value.if_double();
  constexpr double kTooLarge = 9223372036854775808.0;  // 2^63
  if (number == nullptr || std::trunc(*number) != *number || std::abs(*number) >= kTooLarge) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(*number);
}

std::string ShownText(absl::string_view text) { return absl::StrCat("'", Shortened(text), "'"); }

std::string ShownValue(const json::value& value) {
  if (value.is_string()) return ShownText(AbslView(value.get_string()));
  if (value.is_array()) return value.get_array().empty() ? "an empty list" : "a list";
  if (value.is_object()) return value.get_object().empty() ? "an empty object" : "an object";
  return json::serialize(value);
}

absl::Status Wrong(const std::string& field, const json::value& value, absl::string_view expected) {
  return FieldError(field, absl::StrCat("is ", ShownValue(value), ", expected ", expected));
}

absl::Status Wrong(const std::string& field, const json::value* value, absl::string_view expected) {
  return value == nullptr ? Missing(field, expected) : Wrong(field, *value, expected);
}

absl::Status Missing(const std::string& field, absl::string_view expected) {
  return FieldError(field, absl::StrCat("is missing, expected ", expected));
}

absl::Status NotSupported(const std::string& field, const json::value& value,
                          absl::string_view expected) {
  return FieldError(field, absl::StrCat("is ", ShownValue(value),
                                        ", which is not supported, expected ", expected));
}

}  // namespace llava::api
