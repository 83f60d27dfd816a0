#include "model/grammar/json_schema.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/grammar/schema_exclusion.h"
#include "model/grammar/schema_numbers.h"
#include "model/grammar/schema_rewrites.h"

namespace llava::model {
namespace {

namespace json = boost::json;

// What a keyword holds.
enum class Holds {
  kValue,       // no schema
  kSchema,      // one
  kSchemas,     // a list of them
  kNamed,       // an object of them, by name
  kOneOrMany,   // one, or a list of them
  kAnnotation,  // what describes no form
};

struct Keyword {
  absl::string_view name;
  Holds holds;
};

constexpr Keyword kKeywords[] = {
    {"type", Holds::kValue},
    {"enum", Holds::kValue},
    {"const", Holds::kValue},
    {"anyOf", Holds::kSchemas},
    {"oneOf", Holds::kSchemas},
    {"allOf", Holds::kSchemas},
    {"$ref", Holds::kValue},
    {"$defs", Holds::kNamed},
    {"definitions", Holds::kNamed},
    {"properties", Holds::kNamed},
    {"required", Holds::kValue},
    {"additionalProperties", Holds::kSchema},
    {"patternProperties", Holds::kNamed},
    {"minProperties", Holds::kValue},
    {"maxProperties", Holds::kValue},
    {"items", Holds::kOneOrMany},
    {"prefixItems", Holds::kSchemas},
    {"additionalItems", Holds::kSchema},
    {"uniqueItems", Holds::kValue},
    {"propertyNames", Holds::kSchema},
    {"minItems", Holds::kValue},
    {"maxItems", Holds::kValue},
    {"minLength", Holds::kValue},
    {"maxLength", Holds::kValue},
    {"pattern", Holds::kValue},
    {"format", Holds::kValue},
    {"minimum", Holds::kValue},
    {"maximum", Holds::kValue},
    {"exclusiveMinimum", Holds::kValue},
    {"exclusiveMaximum", Holds::kValue},
    {"multipleOf", Holds::kValue},
    {"$schema", Holds::kValue},
    {"$id", Holds::kAnnotation},
    {"$comment", Holds::kAnnotation},
    {"title", Holds::kAnnotation},
    {"description", Holds::kAnnotation},
    {"default", Holds::kAnnotation},
    {"examples", Holds::kAnnotation},
    {"deprecated", Holds::kAnnotation},
    {"readOnly", Holds::kAnnotation},
    {"writeOnly", Holds::kAnnotation},
    {"contentMediaType", Holds::kAnnotation},
    {"contentEncoding", Holds::kAnnotation},
    {"contentSchema", Holds::kAnnotation},
    // Of OpenAPI; discriminator: which of oneOf's schemas it is, as those say themselves.
    {"discriminator", Holds::kAnnotation},
    {"example", Holds::kAnnotation},
    {"externalDocs", Holds::kAnnotation},
    {"xml", Holds::kAnnotation},
};

constexpr absl::string_view kFormats[] = {"date-time", "time", "date", "duration", "email",
                                          "hostname",  "ipv4", "ipv6", "uuid",     "uri"};

absl::string_view View(const json::string& text) { return {text.data(), text.size()}; }

absl::Status Wrong(const std::string& place, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(place, ": ", message));
}

std::string SupportedKeywords() {
  std::vector<absl::string_view> names;
  for (const Keyword& keyword : kKeywords) {
    if (keyword.holds != Holds::kAnnotation) names.push_back(keyword.name);
  }
  return absl::StrJoin(names, ", ");
}

bool IsCountKeyword(absl::string_view name) {
  return absl::StartsWith(name, "min") ? name != "minimum"
                                       : absl::StartsWith(name, "max") && name != "maximum";
}

// What the value of the keyword has to be; empty: it is that.
absl::string_view Expected(absl::string_view name, const json::value& value) {
  if (name == "multipleOf") {
    return value.is_number() && value.to_number<double>() > 0 ? "" : "a number above 0";
  }
  if (absl::EndsWithIgnoreCase(name, "minimum") || absl::EndsWithIgnoreCase(name, "maximum")) {
    return value.is_number() ? "" : "a number";
  }
  if (IsCountKeyword(name)) {
    return value.is_number() && value.to_number<double>() >= 0 ? "" : "an integer from 0";
  }
  if (name == "uniqueItems") return value.is_bool() ? "" : "true or false";
  if (name == "pattern") return value.is_string() ? "" : "a regular expression as text";
  if (name == "enum" || name == "required") {
    const bool is_list = value.is_array() && (name == "required" || !value.as_array().empty());
    return is_list ? "" : name == "enum" ? "a list of at least one value" : "a list of names";
  }
  return "";
}

// Checks what the engine would not say, or not say where.
absl::Status CheckValue(absl::string_view name, const json::value& value, const json::object& all,
                        const std::string& place) {
  const absl::string_view expected = Expected(name, value);
  if (!expected.empty()) {
    return Wrong(place,
                 absl::StrCat("is ", Shortened(json::serialize(value)), ", expected ", expected));
  }
  const json::string* text = value.if_string();
  if (name == "$ref") {
    if (text == nullptr) return Wrong(place, "expected text");
    const absl::string_view ref = View(*text);
    if (ref != "#" &&
        (ref.substr(0, 2) != "#/" || absl::StrContains(ref, '~') || absl::StrContains(ref, '%'))) {
      return Wrong(place, absl::StrCat("\"", Shortened(ref),
                                       "\" is not supported, expected \"#\" or a path within this "
                                       "schema such as \"#/$defs/name\", without ~ and %"));
    }
  }
  if (name == "format" && !IsNumberFormat(all)) {
    const absl::string_view format = text == nullptr ? "" : View(*text);
    std::vector<absl::string_view> formats = RewrittenFormats();
    formats.insert(formats.begin(), std::begin(kFormats), std::end(kFormats));
    if (std::find(formats.begin(), formats.end(), format) == formats.end()) {
      return Wrong(place, absl::StrCat("\"", Shortened(format), "\" is not supported, expected ",
                                       absl::StrJoin(formats, ", ")));
    }
  }
  if (name == "minProperties") {
    const json::value* required = all.if_contains("required");
    const std::size_t most =
        required != nullptr && required->is_array() ? required->as_array().size() : 0;
    if (!value.is_number() || value.to_number<double>() > static_cast<double>(most)) {
      return Wrong(
          place, absl::StrCat("is not supported above the number of required properties, ", most));
    }
  }
  return absl::OkStatus();
}

// JSON pointers: of the schema as a whole, and of what is looked at.
struct Place {
  std::string root;
  std::string path;
  SchemaCosts* costs;  // of the whole
  SchemaExclusion* exclusion;
  const json::value* whole;
  SchemaTotals* totals;

  template <typename Name>
  Place Below(const Name& name) const {
    return {root, absl::StrCat(path, "/", name), costs, exclusion, whole, totals};
  }
};

absl::StatusOr<json::value> CheckedSchema(const json::value& schema, const Place& place);

absl::StatusOr<json::value> CheckedSchemas(const json::value& list, const Place& place) {
  if (!list.is_array()) return Wrong(place.path, "expected a list of schemas");
  json::array checked;
  for (std::size_t i = 0; i < list.as_array().size(); ++i) {
    ASSIGN_OR_RETURN(json::value schema, CheckedSchema(list.as_array()[i], place.Below(i)));
    checked.push_back(std::move(schema));
  }
  return json::value(std::move(checked));
}

absl::StatusOr<json::value> CheckedNamed(const json::value& object, const Place& place) {
  if (!object.is_object()) return Wrong(place.path, "expected an object of schemas");
  json::object checked;
  for (const auto& [name, schema] : object.as_object()) {
    ASSIGN_OR_RETURN(checked[name],
                     CheckedSchema(schema, place.Below(Shortened({name.data(), name.size()}))));
  }
  return json::value(std::move(checked));
}

absl::StatusOr<json::value> CheckedKeyword(const Keyword& keyword, const json::value& value,
                                           const json::object& all, const Place& place) {
  switch (keyword.holds) {
    case Holds::kSchema:
      return CheckedSchema(value, place);
    case Holds::kSchemas:
      return CheckedSchemas(value, place);
    case Holds::kNamed:
      return CheckedNamed(value, place);
    case Holds::kOneOrMany:
      return value.is_array() ? CheckedSchemas(value, place) : CheckedSchema(value, place);
    case Holds::kValue:
    case Holds::kAnnotation:
      break;
  }
  RETURN_IF_ERROR(CheckValue(keyword.name, value, all, place.path));
  if (keyword.name != "$ref") {
    json::value kept = value;
    const absl::Status adapted = AdaptNumbers(keyword.name, kept);
    if (!adapted.ok()) return Wrong(place.path, adapted.message());
    return kept;
  }
  return json::value(absl::StrCat(place.root, View(value.as_string()).substr(1)));
}

// Whether the keyword is a oneOf that asks for no more than anyOf does. The engine cannot tell
// where $refs lead, or of numbers.
bool IsAnyOf(absl::string_view name, const json::object& schema, const Place& place) {
  return name == "oneOf" && !schema.contains("anyOf") &&
         place.exclusion->ExcludeEachOther(schema.at("oneOf").as_array());
}

// `checked` in words that the engine has for what was `written`.
absl::Status Rewrite(const json::object& written, const Place& place, json::object& checked) {
  BoundByFormat(checked);
  CloseNarrowRange(checked);
  RewriteText(checked);
  absl::Status status = RewriteUniqueItems(*place.whole, written, place.totals, checked);
  if (!status.ok()) return Wrong(place.Below("uniqueItems").path, status.message());
  status = RewritePropertyNames(*place.whole, written, place.totals, checked);
  return status.ok() ? status : Wrong(place.Below("propertyNames").path, status.message());
}

absl::StatusOr<json::value> CheckedSchema(const json::value& schema, const Place& place) {
  if (schema.is_bool()) return schema;
  if (!schema.is_object()) return Wrong(place.path, "expected a schema: an object, true or false");
  const absl::Status bearable = place.costs->Check(schema);
  if (!bearable.ok()) return Wrong(place.path, bearable.message());
  json::object checked;
  for (const auto& [key, value] : schema.as_object()) {
    const absl::string_view name(key.data(), key.size());
    const auto* keyword = std::find_if(std::begin(kKeywords), std::end(kKeywords),
                                       [name](const Keyword& other) { return other.name == name; });
    const Place there = place.Below(Shortened(name));
    if (keyword == std::end(kKeywords)) {
      return Wrong(there.path, absl::StrCat("the keyword is not supported, expected one of ",
                                            SupportedKeywords()));
    }
    if (keyword->holds == Holds::kAnnotation) continue;
    ASSIGN_OR_RETURN(json::value kept, CheckedKeyword(*keyword, value, schema.as_object(), there));
    if (name == "minProperties") continue;  // `required` says as much
    checked[IsAnyOf(name, schema.as_object(), place) ? "anyOf" : key] = std::move(kept);
  }
  RETURN_IF_ERROR(Rewrite(schema.as_object(), place, checked));
  return json::value(std::move(checked));
}

}  // namespace

absl::StatusOr<json::value> CheckedJsonSchema(std::string_view text, const std::string& root,
                                              SchemaTotals* totals) {
  ASSIGN_OR_RETURN(const json::value schema, ParseJson(text, kMaxSchemaDepth));
  SchemaTotals own;
  if (totals == nullptr) totals = &own;
  SchemaCosts costs(schema, totals);
  SchemaExclusion exclusion(schema);
  return CheckedSchema(schema, {root, root, &costs, &exclusion, &schema, totals});
}

}  // namespace llava::model
