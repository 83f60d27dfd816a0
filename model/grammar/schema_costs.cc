#include "model/grammar/schema_costs.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cmath>
#include <cstddef>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace llava::model {
namespace {

namespace json = boost::json;

constexpr int kMaxVisits = 100'000;  // of schemas, with each way that leads to them
constexpr int kMaxDecimals = 9;      // of multipleOf, as the engine reads it

absl::string_view View(json::string_view text) { return {text.data(), text.size()}; }

// The value without its decimal point; 0 where it is no multiple that the engine takes.
double WithoutPoint(const json::value& value) {
  if (!value.is_number()) return 0;
  double number = value.to_number<double>();
  for (int decimals = 0; decimals < kMaxDecimals; ++decimals) {
    if (std::abs(number - std::round(number)) < 1e-9 * std::abs(number)) break;
    number *= 10;
  }
  return std::round(std::abs(number));
}

double LeastCommonMultiple(double a, double b) {
  if (a < 1 || b < 1) return std::max(a, b);
  if (a > kMaxMultiple || b > kMaxMultiple) return std::max(a, b);  // refused already
  double x = a, y = b;
  while (y >= 1) x = std::exchange(y, std::fmod(x, y));
  return a / x * b;
}

// How many ways a text may go on at any place of the regular expression, at the most: one for each
// repetition, option and alternative in it, and one besides.
double WaysOf(absl::string_view pattern) {
  double ways = 1;
  for (const char c : pattern) ways += c == '|' || c == '*' || c == '+' || c == '?' || c == '{';
  return ways;
}

// Of the formats, ipv6 and uri have the most.
constexpr double kWaysOfAFormat = 40;

const json::array& List(const json::object& schema, absl::string_view name) {
  static const json::array none;
  const json::value* list = schema.if_contains({name.data(), name.size()});
  return list != nullptr && list->is_array() ? list->as_array() : none;
}

int OptionalProperties(const json::object& schema) {
  const json::value* properties = schema.if_contains("properties");
  if (properties == nullptr || !properties->is_object()) return 0;
  std::set<absl::string_view> required;
  for (const json::value& name : List(schema, "required")) {
    if (name.is_string()) required.insert(View(name.as_string()));
  }
  const json::object& all = properties->as_object();
  return static_cast<int>(std::count_if(all.begin(), all.end(), [&](const auto& property) {
    return !required.contains(View(property.key()));
  }));
}

template <typename... Words>
absl::Status Wrong(const Words&... words) {
  return absl::InvalidArgumentError(absl::StrCat(words...));
}

// Of any two of them the engine finds out whether one name can match both.
absl::Status CheckPatternProperties(const json::value& schema) {
  const json::object* object = schema.if_object();
  const json::value* patterns =
      object == nullptr ? nullptr : object->if_contains("patternProperties");
  if (patterns == nullptr || !patterns->is_object()) return absl::OkStatus();
  const std::size_t count = patterns->as_object().size();
  if (count > kMaxPatternProperties) {
    return Wrong("has ", count, " patternProperties, expected at most ", kMaxPatternProperties);
  }
  double most = 1, second = 1;
  for (const auto& [pattern, value] : patterns->as_object()) {
    second = std::max(second, std::min(most, WaysOf(View(pattern))));
    most = std::max(most, WaysOf(View(pattern)));
  }
  if (count < 2 || most * second <= kMaxWaysOfAText) return absl::OkStatus();
  return Wrong("has patternProperties whose repetitions and alternatives multiply to ",
               most * second, ", expected at most ", kMaxWaysOfAText);
}

}  // namespace

// What one value has to satisfy, of all schemas that it meets.
struct SchemaCosts::Demands {
  int patterns = 0;
  double ways = 1;
  double multiple = 0;  // 0: of nothing
};

// Of the schema itself, all of allOf and $ref, and of anyOf and oneOf the one that demands most.
// Schemas that refer to themselves without a value in between are the engine's to refuse.
void SchemaCosts::Add(const json::value& schema, Demands* demands) {
  const json::object* object = schema.if_object();
  if (object == nullptr || ++visits_ > kMaxVisits || !open_.insert(&schema).second) return;
  if (const json::value* pattern = object->if_contains("pattern")) {
    demands->ways *= pattern->is_string() ? WaysOf(View(pattern->as_string())) : 1;
    ++demands->patterns;
  }
  if (object->contains("format")) {
    demands->ways *= kWaysOfAFormat;
    ++demands->patterns;
  }
  if (const json::value* multiple = object->if_contains("multipleOf")) {
    demands->multiple = LeastCommonMultiple(demands->multiple, WithoutPoint(*multiple));
  }
  for (const json::value& all : List(*object, "allOf")) Add(all, demands);
  const json::value* ref = object->if_contains("$ref");
  const json::value* target = ref != nullptr ? Target(*ref) : nullptr;
  if (target != nullptr) Add(*target, demands);
  for (const char* name : {"anyOf", "oneOf"}) {
    Demands most = *demands;
    for (const json::value& one : List(*object, name)) {
      Demands with = *demands;
      Add(one, &with);
      most.patterns = std::max(most.patterns, with.patterns);
      most.ways = std::max(most.ways, with.ways);
      most.multiple = std::max(most.multiple, with.multiple);
    }
    *demands = most;
  }
  open_.erase(&schema);
}

// What "#" or "#/$defs/name" stands for; nullptr: nothing.
const json::value* SchemaCosts::Target(const json::value& ref) const {
  if (!ref.is_string()) return nullptr;
  const std::vector<absl::string_view> names = absl::StrSplit(View(ref.as_string()), '/');
  const json::value* at = &root_;
  for (std::size_t i = 1; i < names.size() && at != nullptr; ++i) {  // behind "#"
    std::size_t index = 0;
    const json::array* list = at->if_array();
    if (const json::object* object = at->if_object()) {
      at = object->if_contains({names[i].data(), names[i].size()});
    } else if (list != nullptr && absl::SimpleAtoi(names[i], &index) && index < list->size()) {
      at = &(*list)[index];
    } else {
      at = nullptr;
    }
  }
  return at;
}

absl::Status SchemaCosts::Check(const json::value& part) {
  Demands demands;
  Add(part, &demands);
  if (visits_ > kMaxVisits) {
    return Wrong("allOf, anyOf and $ref lead to more than ", kMaxVisits, " schemas");
  }
  if (demands.patterns > kMaxPatternsOfAText) {
    return Wrong("one text has to match ", demands.patterns,
                 " patterns and formats, expected at most ", kMaxPatternsOfAText);
  }
  if (demands.patterns > 1 && demands.ways > kMaxWaysOfAText) {
    return Wrong("one text has to match ", demands.patterns,
                 " patterns and formats whose repetitions and alternatives multiply to ",
                 demands.ways, ", expected at most ", kMaxWaysOfAText);
  }
  RETURN_IF_ERROR(CheckPatternProperties(part));
  if (demands.multiple > kMaxMultiple) {
    return Wrong("one number has to be a multiple of ", demands.multiple,
                 " (without its decimal point), expected at most ", kMaxMultiple);
  }
  const int optional = part.is_object() ? OptionalProperties(part.as_object()) : 0;
  if (optional > kMaxOptionalProperties) {
    return Wrong("has ", optional, " properties that may be left out, expected at most ",
                 kMaxOptionalProperties, " (as many as you like may be required)");
  }
  return absl::OkStatus();
}

}  // namespace llava::model
