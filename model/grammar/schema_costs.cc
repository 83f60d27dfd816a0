#include "model/grammar/schema_costs.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
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

constexpr int kMaxVisits = 100'000;    // of schemas, with each way that leads to them
constexpr std::size_t kMaxWays = 100;  // of anyOf and oneOf, to multiples of one number

absl::string_view View(json::string_view text) { return {text.data(), text.size()}; }

// To be read: without an exponent.
std::int64_t Whole(double number) { return static_cast<std::int64_t>(std::min(number, 1e18)); }

double GreatestCommonDivisor(double a, double b) {
  while (b >= 1) a = std::exchange(b, std::fmod(a, b));
  return a;
}

// Of what is a multiple of both. The engine multiplies the two in 32 bits: beyond them it is one
// that no bound allows.
SchemaMultiple LeastCommonMultiple(const SchemaMultiple& a, const SchemaMultiple& b) {
  if (a.number < 1 || b.number < 1) return a.number < 1 ? b : a;
  const int decimals = std::max(a.decimals, b.decimals);
  const double x = a.number * std::pow(10, decimals - a.decimals);
  const double y = b.number * std::pow(10, decimals - b.decimals);
  constexpr double kEnd = 4294967296.0;  // 2^32
  if (x * y >= kEnd) return {.number = kEnd, .decimals = decimals};
  SchemaMultiple both{x / GreatestCommonDivisor(x, y) * y, decimals};
  while (both.decimals > 0 && std::fmod(both.number, 10) == 0) {
    both.number /= 10;
    --both.decimals;
  }
  return both;
}

// Behind a few zeros every number is a multiple of it: the engine finds one at once.
bool IsPowerOfTen(double number) {
  while (number >= 10 && std::fmod(number, 10) == 0) number /= 10;
  return number == 1;
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

// What is beyond kMaxWays is one more than those.
void KeepDifferent(std::vector<SchemaMultiple>* multiples) {
  std::sort(multiples->begin(), multiples->end());
  multiples->erase(std::unique(multiples->begin(), multiples->end()), multiples->end());
  if (multiples->size() > kMaxWays + 1) multiples->resize(kMaxWays + 1);
}

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

SchemaMultiple MultipleOf(const json::value& value) {
  if (!value.is_number()) return {};
  double number = std::abs(value.to_number<double>());
  int decimals = 0;
  while (decimals <= kMaxMultipleDecimals &&
         std::abs(number - std::round(number)) >= 1e-9 * number) {
    number *= 10;
    ++decimals;
  }
  const double least = decimals > kMaxMultipleDecimals && number > 0 ? 1 : 0;
  return {std::max(std::round(number), least), decimals};
}

double RepetitionsIn(absl::string_view text) {
  return static_cast<double>(std::count_if(text.begin(), text.end(), [](char c) {
    return c == '*' || c == '+' || c == '?' || c == '{';
  }));
}

// What one value has to satisfy, of all schemas that it meets.
struct SchemaCosts::Demands {
  int patterns = 0;
  double ways = 1;
  // Of one of these, by the way that anyOf and oneOf go.
  std::vector<SchemaMultiple> multiples = {{}};
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
    for (SchemaMultiple& other : demands->multiples) {
      other = LeastCommonMultiple(other, MultipleOf(*multiple));
    }
  }
  for (const json::value& all : List(*object, "allOf")) Add(all, demands);
  const json::value* ref = object->if_contains("$ref");
  const json::value* target = ref != nullptr ? SchemaAt(root_, *ref) : nullptr;
  if (target != nullptr) Add(*target, demands);
  for (const char* name : {"anyOf", "oneOf"}) {
    const json::array& ways = List(*object, name);
    if (ways.empty()) continue;
    Demands most = *demands;
    most.multiples.clear();
    for (const json::value& one : ways) {
      Demands with = *demands;
      Add(one, &with);
      most.patterns = std::max(most.patterns, with.patterns);
      most.ways = std::max(most.ways, with.ways);
      most.multiples.insert(most.multiples.end(), with.multiples.begin(), with.multiples.end());
    }
    KeepDifferent(&most.multiples);
    *demands = std::move(most);
  }
  open_.erase(&schema);
}

const json::value* SchemaAt(const json::value& root, const json::value& ref) {
  if (!ref.is_string()) return nullptr;
  const std::vector<absl::string_view> names = absl::StrSplit(View(ref.as_string()), '/');
  const json::value* at = &root;
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

absl::Status SchemaCosts::CheckMultiples(const std::vector<SchemaMultiple>& multiples) {
  if (multiples.size() > kMaxWays) {
    return Wrong("anyOf and oneOf lead to ", multiples.size(),
                 " multiples of one number, expected at most ", kMaxWays);
  }
  for (const SchemaMultiple& multiple : multiples) {
    if (multiple.number < 1) continue;
    if (multiple.decimals > kMaxMultipleDecimals) {
      return Wrong("one number has to be a multiple with more than ", kMaxMultipleDecimals,
                   " decimals, expected at most so many");
    }
    const bool is_power = IsPowerOfTen(multiple.number);
    const double most = is_power ? kMaxPowerOfTen : kMaxMultiple;
    if (multiple.number > most) {
      return Wrong("one number has to be a multiple of ", Whole(multiple.number),
                   " (without its decimal point), expected at most ", Whole(most),
                   is_power ? "" : ", or a power of ten");
    }
    if (is_power || !totals_.multiples.insert(multiple).second) continue;
    totals_.remainders += multiple.number;
    if (totals_.remainders > kMaxMultiple) {
      return Wrong(
          "the different multiples in the schema (without their decimal points) add up to ",
          Whole(totals_.remainders), " here, expected at most ", Whole(kMaxMultiple));
    }
  }
  return absl::OkStatus();
}

absl::Status SchemaCosts::CheckRepetitions(absl::string_view pattern) {
  const double count = RepetitionsIn(pattern);
  totals_.squares += count * count;
  if (count > kMaxRepetitions) {
    return Wrong("a pattern has ", count, " repetitions (*, +, ? and {), expected at most ",
                 kMaxRepetitions);
  }
  if (totals_.squares <= kMaxRepetitions * kMaxRepetitions) return absl::OkStatus();
  return Wrong("a pattern has ", count,
               " repetitions (*, +, ? and {), too many beside those of the ",
               "patterns before it: expected squares that add up to at most ",
               Whole(kMaxRepetitions * kMaxRepetitions));
}

absl::Status SchemaCosts::CheckPatterns(const json::value& part) {
  const json::object* object = part.if_object();
  if (object == nullptr) return absl::OkStatus();
  const json::value* pattern = object->if_contains("pattern");
  if (pattern != nullptr && pattern->is_string()) {
    RETURN_IF_ERROR(CheckRepetitions(View(pattern->as_string())));
  }
  const json::value* named = object->if_contains("patternProperties");
  if (named == nullptr || !named->is_object()) return absl::OkStatus();
  for (const auto& [name, schema] : named->as_object()) {
    RETURN_IF_ERROR(CheckRepetitions(View(name)));
  }
  return absl::OkStatus();
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
  RETURN_IF_ERROR(CheckPatterns(part));
  RETURN_IF_ERROR(CheckMultiples(demands.multiples));
  const int optional = part.is_object() ? OptionalProperties(part.as_object()) : 0;
  if (optional > kMaxOptionalProperties) {
    return Wrong("has ", optional, " properties that may be left out, expected at most ",
                 kMaxOptionalProperties, " (as many as you like may be required)");
  }
  return absl::OkStatus();
}

}  // namespace llava::model
