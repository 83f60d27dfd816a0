#include "model/grammar/schema_numbers.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/grammar/schema_costs.h"

namespace llava::model {
namespace {

namespace json = boost::json;

constexpr double kEnd = 9223372036854775808.0;      // 2^63
constexpr double kLargest = 9223372036854774784.0;  // the float64 below it

// The sign of the number minus `other`, exactly.
int Compare(const json::value& number, double other) {
  // Where a float64 is of this size it is an integer, and long double has all its bits.
  const long double exact = number.is_int64()    ? static_cast<long double>(number.as_int64())
                            : number.is_uint64() ? static_cast<long double>(number.as_uint64())
                                                 : static_cast<long double>(number.as_double());
  return exact < other ? -1 : exact > other ? 1 : 0;
}

absl::Status Adapt(json::value& number, bool is_lower) {
  double bound = number.to_number<double>();
  if (is_lower ? bound >= kEnd : bound <= -kEnd) {
    return absl::InvalidArgumentError(absl::StrCat("is ", json::serialize(number),
                                                   ", expected a number ",
                                                   is_lower ? "below 2^63" : "above -2^63"));
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const int sign = Compare(number, bound);
  if (is_lower && sign > 0) bound = std::nextafter(bound, kInfinity);
  if (!is_lower && sign < 0) bound = std::nextafter(bound, -kInfinity);
  bound = std::fmin(std::fmax(bound, -kLargest), kLargest);
  // As an integer, which these are: the engine's reader of floats may miss by a last place.
  if (Compare(number, bound) != 0) number = static_cast<std::int64_t>(bound);
  return absl::OkStatus();
}

bool IsCount(absl::string_view name) {
  constexpr absl::string_view kCounts[] = {"minLength", "maxLength",     "minItems",
                                           "maxItems",  "minProperties", "maxProperties"};
  return std::find(std::begin(kCounts), std::end(kCounts), name) != std::end(kCounts);
}

// To JSON Schema, 1.0 is an integer; to the engine it is none.
absl::Status AdaptCount(json::value& value) {
  const double* number = value.if_double();
  if (number == nullptr) return absl::OkStatus();  // the engine's to judge
  if (*number < 0 || *number >= kEnd || std::trunc(*number) != *number) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", json::serialize(value), ", expected an integer from 0 to below 2^63"));
  }
  value = static_cast<std::int64_t>(*number);
  return absl::OkStatus();
}

// Whether the engine, which multiplies by 10 until nothing is behind the point, comes from `number`
// to `whole` with its point moved by `decimals` places.
bool CountsBy(double number, double whole, int decimals) {
  constexpr int kMaxPlaces = 16;
  int places = 0;
  while (places < kMaxPlaces && number != std::floor(number)) {
    number *= 10;
    ++places;
  }
  return number == whole * std::pow(10, places - decimals);
}

// By most numbers with decimals the engine can count, or by a float64 beside them: 0.07 becomes
// 0.7000000000000001 where it multiplies, and the one before it 0.7.
absl::Status AdaptMultiple(json::value& value) {
  const double* number = value.if_double();
  if (number == nullptr) return absl::OkStatus();
  const SchemaMultiple multiple = MultipleOf(value);
  if (multiple.decimals > kMaxMultipleDecimals) return absl::OkStatus();  // refused elsewhere
  constexpr int kNear = 4;
  double below = *number, above = *number;
  for (int i = 0; i < kNear; ++i) {
    for (const double near : {below, above}) {
      if (!CountsBy(near, multiple.number, multiple.decimals)) continue;
      value = near;
      return absl::OkStatus();
    }
    below = std::nextafter(below, 0.0);
    above = std::nextafter(above, std::numeric_limits<double>::infinity());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("is ", json::serialize(value),
                   ", by which the grammar engine cannot count, expected another multiple"));
}

// Every number within the value.
absl::Status CheckExact(const json::value& value) {
  if (value.is_array()) {
    for (const json::value& element : value.as_array()) RETURN_IF_ERROR(CheckExact(element));
  }
  if (value.is_object()) {
    for (const auto& member : value.as_object()) RETURN_IF_ERROR(CheckExact(member.value()));
  }
  if (!value.is_number()) return absl::OkStatus();
  const double number = value.to_number<double>();
  if (number != -kEnd && Compare(value, number) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("has ", json::serialize(value),
                   ", expected integers that a float64 holds exactly: up to 2^53 in size"));
}

// The bound of the two that is stricter; `exclusive`: whether it is that one. Nothing: no bound.
std::optional<double> Strictest(const json::object& schema, const char* inclusive_name,
                                const char* exclusive_name, bool is_lower, bool* is_exclusive) {
  const json::value* inclusive = schema.if_contains(inclusive_name);
  const json::value* exclusive = schema.if_contains(exclusive_name);
  std::optional<double> bound;
  if (inclusive != nullptr && inclusive->is_number()) bound = inclusive->to_number<double>();
  *is_exclusive = false;
  if (exclusive == nullptr || !exclusive->is_number()) return bound;
  const double other = exclusive->to_number<double>();
  if (bound.has_value() && (is_lower ? *bound > other : *bound < other)) return bound;
  *is_exclusive = true;
  return other;
}

}  // namespace

absl::Status AdaptNumbers(absl::string_view name, json::value& value) {
  if (name == "const" || name == "enum") return CheckExact(value);
  if (IsCount(name)) return AdaptCount(value);
  if (name == "multipleOf") return AdaptMultiple(value);
  const bool is_lower = name == "minimum" || name == "exclusiveMinimum";
  const bool is_bound = is_lower || name == "maximum" || name == "exclusiveMaximum";
  return is_bound && value.is_number() ? Adapt(value, is_lower) : absl::OkStatus();
}

bool IsNumberFormat(const json::object& schema) {
  const json::value* format = schema.if_contains("format");
  const json::value* type = schema.if_contains("type");
  if (format == nullptr || type == nullptr) return false;
  const json::array types = type->is_array() ? type->as_array() : json::array{*type};
  const auto is_of_numbers = [](const json::value& name) {
    return name == json::value("integer") || name == json::value("number") ||
           name == json::value("null");
  };
  const auto is_format = [format](const char* name) { return *format == json::value(name); };
  constexpr const char* kFormats[] = {"int32", "int64", "float", "double"};
  return std::all_of(types.begin(), types.end(), is_of_numbers) &&
         std::any_of(std::begin(kFormats), std::end(kFormats), is_format);
}

void BoundByFormat(json::object& schema) {
  if (!IsNumberFormat(schema)) return;
  const bool is_32 = schema.at("format") == json::value("int32");
  const bool is_64 = schema.at("format") == json::value("int64");
  schema.erase("format");
  if (!is_32 && !is_64) return;
  const double least = is_32 ? std::numeric_limits<std::int32_t>::min() : -kLargest;
  const double most = is_32 ? std::numeric_limits<std::int32_t>::max() : kLargest;
  const json::value* lower = schema.if_contains("minimum");
  const json::value* upper = schema.if_contains("maximum");
  if (lower == nullptr || Compare(*lower, least) < 0) {
    schema["minimum"] = static_cast<std::int64_t>(least);
  }
  if (upper == nullptr || Compare(*upper, most) > 0) {
    schema["maximum"] = static_cast<std::int64_t>(most);
  }
}

void CloseNarrowRange(json::object& schema) {
  bool opens = false, ends = false;
  const auto lower = Strictest(schema, "minimum", "exclusiveMinimum", true, &opens);
  const auto upper = Strictest(schema, "maximum", "exclusiveMaximum", false, &ends);
  if (!lower.has_value() || !upper.has_value()) return;
  const double width = *upper - *lower;
  if (width <= 0 || width >= 1) return;
  const double step = std::pow(10.0, std::floor(std::log10(width)) - 6);
  if (opens) {
    schema.erase("exclusiveMinimum");
    schema["minimum"] = std::fmax(*lower + step, std::nextafter(*lower, *upper));
  }
  if (ends) {
    schema.erase("exclusiveMaximum");
    schema["maximum"] = std::fmin(*upper - step, std::nextafter(*upper, *lower));
  }
}

}  // namespace llava::model
