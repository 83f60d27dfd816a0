#include "model/grammar/schema_rewrites.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/grammar/schema_numbers.h"

namespace llava::model {
namespace {

namespace json = boost::json;

static_assert(kMaxWrittenLists == 400);  // as the errors say

constexpr int kMaxRefs = 16;  // behind one another

struct Format {
  absl::string_view name;
  absl::string_view pattern;  // empty: any text; of a UUID the beginning
};

// In front of a UUID's version and behind it.
constexpr absl::string_view kBeforeVersion = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-";
constexpr absl::string_view kBehindVersion =
    "[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$";

// As Pydantic and OpenAPI name them.
constexpr Format kFormats[] = {
    {"uuid1", kBeforeVersion},
    {"uuid3", kBeforeVersion},
    {"uuid4", kBeforeVersion},
    {"uuid5", kBeforeVersion},
    {"uuid6", kBeforeVersion},
    {"uuid7", kBeforeVersion},
    {"uuid8", kBeforeVersion},
    {"byte", "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"},
    {"base64", "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"},
    {"base64url", "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{2}==|[A-Za-z0-9_-]{3}=)?$"},
    {"password", ""},
    {"binary", ""},
    {"path", ""},
    {"file-path", ""},
    {"directory-path", ""},
};

absl::string_view View(json::string_view text) { return {text.data(), text.size()}; }

void AddPattern(absl::string_view pattern, json::object& schema) {
  if (!schema.contains("pattern")) {
    schema["pattern"] = json::string_view(pattern.data(), pattern.size());
    return;
  }
  json::value& all = schema["allOf"];
  if (!all.is_array()) all = json::array();
  json::object one;
  one["pattern"] = json::string_view(pattern.data(), pattern.size());
  all.as_array().push_back(std::move(one));
}

bool IsOfType(const json::value& value, const json::value& type) {
  if (type == json::value("string")) return value.is_string();
  if (type == json::value("boolean")) return value.is_bool();
  if (type == json::value("null")) return value.is_null();
  if (type == json::value("integer")) return value.is_int64() || value.is_uint64();
  return type == json::value("number") && value.is_number();
}

bool IsAnnotation(absl::string_view name) {
  constexpr absl::string_view kNames[] = {"title", "description", "default", "examples"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

// What `schema` of `root` says behind its $refs; nullptr: nothing, or more beside a $ref.
const json::object* ObjectOf(const json::value& root, const json::value* schema) {
  for (int refs = 0; schema != nullptr && refs < kMaxRefs; ++refs) {
    const json::object* object = schema->if_object();
    const json::value* ref = object == nullptr ? nullptr : object->if_contains("$ref");
    if (ref == nullptr) return object;
    for (const auto& keyword : *object) {
      if (keyword.key() != "$ref" && !IsAnnotation(View(keyword.key()))) return nullptr;
    }
    schema = SchemaAt(root, *ref);
  }
  return nullptr;
}

// The different texts, numbers and so on that satisfy the schema; nothing: more than enum, const
// and type say, or lists and objects.
std::optional<std::vector<json::value>> ValuesOf(const json::object& schema) {
  const json::value* type = schema.if_contains("type");
  const json::value* one = schema.if_contains("const");
  const json::value* list = schema.if_contains("enum");
  if ((one == nullptr) == (list == nullptr)) return std::nullopt;
  for (const auto& keyword : schema) {
    const absl::string_view name = View(keyword.key());
    const bool is_known = name == "type" || name == "const" || name == "enum";
    if (!is_known && !IsAnnotation(name)) return std::nullopt;
  }
  if (list != nullptr && !list->is_array()) return std::nullopt;
  // Each is compared with those before it, for every schema that refers to the list.
  if (list != nullptr && list->as_array().size() > kMaxWrittenLists) return std::nullopt;
  const json::array all = list != nullptr ? list->as_array() : json::array{*one};
  std::vector<json::value> values;
  for (const json::value& value : all) {
    json::value exact = value;
    const bool is_exact = AdaptNumbers("enum", exact).ok();
    if (!is_exact || value.is_structured()) return std::nullopt;
    const auto is_same = [&value](const json::value& other) {
      return value.is_number() && other.is_number()
                 ? value.to_number<double>() == other.to_number<double>()
                 : value == other;
    };
    if (type != nullptr && !IsOfType(value, *type)) continue;
    if (std::none_of(values.begin(), values.end(), is_same)) values.push_back(value);
  }
  return values;
}

absl::Status TakeBytes(const json::value& value, SchemaTotals* totals) {
  totals->written_bytes += static_cast<double>(json::serialize(value).size());
  if (totals->written_bytes <= kMaxWrittenBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "is written out, with others before it, in more than ", kMaxWrittenBytes, " bytes"));
}

// Lists without repeated values: all of `size` that begin with `beginning`.
absl::Status AddLists(const std::vector<json::value>& values, std::size_t size,
                      json::array& beginning, SchemaTotals* totals, json::array& lists) {
  if (beginning.size() == size) {
    lists.push_back(beginning);
    if (++totals->lists <= kMaxWrittenLists) return TakeBytes(beginning, totals);
    return absl::InvalidArgumentError(
        absl::StrCat("allows, with others before it, more than ", kMaxWrittenLists,
                     " lists, expected so many at most (those of 5 values; maxItems helps)"));
  }
  for (const json::value& value : values) {
    if (std::find(beginning.begin(), beginning.end(), value) != beginning.end()) continue;
    beginning.push_back(value);
    RETURN_IF_ERROR(AddLists(values, size, beginning, totals, lists));
    beginning.pop_back();
  }
  return absl::OkStatus();
}

// The count `name`, or `otherwise`.
std::size_t CountOf(const json::object& schema, const char* name, std::size_t otherwise) {
  const json::value* count = schema.if_contains(name);
  const bool is_count = count != nullptr && count->is_int64() && count->as_int64() >= 0;
  return is_count ? static_cast<std::size_t>(count->as_int64()) : otherwise;
}

// What a value other than a list may be.
json::array TypesBesideArray(const json::object& schema) {
  const json::value* type = schema.if_contains("type");
  if (type == nullptr) return {"null", "boolean", "number", "string", "object"};
  json::array others;
  for (const json::value& one : type->is_array() ? type->as_array() : json::array{*type}) {
    if (one != json::value("array")) others.push_back(one);
  }
  return others;
}

absl::Status Refused(const char* message) { return absl::InvalidArgumentError(message); }

// The schema's properties become those of the `names` alone; the others are as it says of others.
absl::Status NameProperties(const std::vector<json::value>& names, SchemaTotals* totals,
                            json::object& schema) {
  const json::value* properties = schema.if_contains("properties");
  const json::object known = properties == nullptr ? json::object() : properties->as_object();
  const json::value* additional = schema.if_contains("additionalProperties");
  const json::value others = additional == nullptr ? json::value(true) : *additional;
  json::object named;
  for (const auto& [name, property] : known) {
    if (std::find(names.begin(), names.end(), json::value(name)) != names.end()) {
      named[name] = property;
    }
  }
  for (const json::value& name : names) {
    if (!name.is_string() || named.contains(name.as_string()) || others == json::value(false)) {
      continue;
    }
    RETURN_IF_ERROR(TakeBytes(others, totals));
    named[name.as_string()] = others;
  }
  if (named.size() > kMaxOptionalProperties) {
    return absl::InvalidArgumentError(
        absl::StrCat("allows ", named.size(), " names, expected at most ", kMaxOptionalProperties));
  }
  schema["properties"] = std::move(named);
  schema["additionalProperties"] = false;
  return absl::OkStatus();
}

}  // namespace

std::vector<absl::string_view> RewrittenFormats() {
  std::vector<absl::string_view> names;
  for (const Format& format : kFormats) names.push_back(format.name);
  return names;
}

void RewriteText(json::object& schema) {
  // [^-+.] is what the rest of the text has to have.
  constexpr absl::string_view kNotSignsAlone = "^(?!^[-+.]*$)";
  const json::value* pattern = schema.if_contains("pattern");
  absl::string_view rest = pattern == nullptr ? "" : View(pattern->as_string());
  if (absl::ConsumePrefix(&rest, kNotSignsAlone) && !absl::StrContains(rest, '|')) {
    schema["pattern"] = json::value(absl::StrCat("^", rest));
    AddPattern("[^-+.]", schema);
  }
  const json::value* name = schema.if_contains("format");
  if (name == nullptr) return;
  const auto* format = std::find_if(std::begin(kFormats), std::end(kFormats), [&](const Format& f) {
    return name->is_string() && f.name == View(name->as_string());
  });
  if (format == std::end(kFormats)) return;
  schema.erase("format");
  if (format->pattern == kBeforeVersion) {
    AddPattern(absl::StrCat(kBeforeVersion, format->name.substr(4), kBehindVersion), schema);
  } else if (!format->pattern.empty()) {
    AddPattern(format->pattern, schema);
  }
}

absl::Status RewriteUniqueItems(const json::value& root, const json::object& written,
                                SchemaTotals* totals, json::object& schema) {
  const json::value* unique = schema.if_contains("uniqueItems");
  if (unique == nullptr) return absl::OkStatus();
  const bool asks = *unique == json::value(true);
  schema.erase("uniqueItems");
  if (!asks || CountOf(schema, "maxItems", 2) < 2) return absl::OkStatus();
  for (const char* other : {"prefixItems", "additionalItems", "enum", "const", "anyOf", "oneOf"}) {
    if (schema.contains(other)) {
      return absl::InvalidArgumentError(absl::StrCat("is not supported beside ", other));
    }
  }
  const json::object* items = ObjectOf(root, written.if_contains("items"));
  const auto values = items == nullptr ? std::nullopt : ValuesOf(*items);
  if (!values.has_value()) {
    return Refused(
        "is supported where items are an enum of at most 400 values (or a $ref to one), expected "
        "that, or a schema without it whose lists the client makes into sets");
  }
  const std::size_t least = CountOf(schema, "minItems", 0);
  const std::size_t most = std::min(CountOf(schema, "maxItems", values->size()), values->size());
  json::array lists, beginning;
  for (std::size_t size = least; size <= most; ++size) {
    RETURN_IF_ERROR(AddLists(*values, size, beginning, totals, lists));
  }
  if (lists.empty()) return Refused("no list is so long and repeats nothing");
  for (const char* done : {"items", "minItems", "maxItems"}) schema.erase(done);
  const json::array others = TypesBesideArray(schema);
  if (others.empty()) {
    schema["enum"] = std::move(lists);
  } else {
    schema["anyOf"] = {{{"enum", std::move(lists)}}, {{"type", others}}};
  }
  return absl::OkStatus();
}

absl::Status RewritePropertyNames(const json::value& root, const json::object& written,
                                  SchemaTotals* totals, json::object& schema) {
  const json::value* said = written.if_contains("propertyNames");
  if (said == nullptr) return absl::OkStatus();
  schema.erase("propertyNames");
  if (*said == json::value(true)) return absl::OkStatus();
  const json::object* names = ObjectOf(root, said);
  if (names != nullptr && !schema.contains("patternProperties")) {
    const auto values = ValuesOf(*names);
    if (values.has_value()) return NameProperties(*values, totals, schema);
  }
  names = said->if_object();  // what a $ref leads to has not been checked, maybe
  if (names != nullptr && !schema.contains("patternProperties")) {
    bool says_pattern = false, says_more = false;
    for (const auto& [name, value] : *names) {
      if (name == "type" && value == json::value("string")) continue;
      says_pattern = says_pattern || name == "pattern";
      says_more = says_more || (name != "pattern" && !IsAnnotation(View(name)));
    }
    if (!says_pattern && !says_more) return absl::OkStatus();
    if (!says_more && !schema.contains("properties")) {
      const json::value* additional = schema.if_contains("additionalProperties");
      json::value others = additional == nullptr ? json::value(true) : *additional;
      json::object named;
      named[names->at("pattern").as_string()] = std::move(others);
      schema["patternProperties"] = std::move(named);
      schema["additionalProperties"] = false;
      return absl::OkStatus();
    }
  }
  return Refused(
      "is supported as an enum of at most 400 values (or a $ref to one), as a pattern where there "
      "are no properties, and not beside patternProperties");
}

}  // namespace llava::model
