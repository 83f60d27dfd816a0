// The JSON of a request's body, within bounds that stand before anything is built of it.
#ifndef LLAVA_SERVER_API_OPENAI_JSON_BODY_H_
#define LLAVA_SERVER_API_OPENAI_JSON_BODY_H_

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::api {

// A value takes many times the two bytes that it needs in the text. No request of use has so many.
inline constexpr std::size_t kMaxJsonValues = std::size_t{1} << 18;

// Objects and lists within each other: a schema of model::kMaxSchemaDepth has its place in it.
inline constexpr std::size_t kMaxJsonDepth = 64;

// INVALID_ARGUMENT unless the text is one JSON object; says in which line and column the fault is.
absl::StatusOr<boost::json::object> ParseJsonObject(absl::string_view json,
                                                    std::size_t max_depth = kMaxJsonDepth);

// To JSON Schema, 5.0 and 1e2 are integers too.
std::optional<std::int64_t> WholeNumber(const boost::json::value& value);

// What a client has given, as an error names it: of a text its beginning in quotes, of a list or an
// object that it is one.
std::string ShownValue(const boost::json::value& value);
std::string ShownText(absl::string_view text);

// "max_tokens: is 1E12, expected an integer from ...".
absl::Status Wrong(const std::string& field, const boost::json::value& value,
                   absl::string_view expected);

// The same, of a field that may be missing: null then.
absl::Status Wrong(const std::string& field, const boost::json::value* value,
                   absl::string_view expected);

// "prompt: is missing, expected text".
absl::Status Missing(const std::string& field, absl::string_view expected);

// "best_of: is 2, which is not supported, expected 1".
absl::Status NotSupported(const std::string& field, const boost::json::value& value,
                          absl::string_view expected);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_JSON_BODY_H_
