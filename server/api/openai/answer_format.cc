#include "server/api/openai/answer_format.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/openai/json_body.h"

namespace llava::api {
namespace {

namespace json = boost::json;
using Kind = model::AnswerFormat::Kind;

// Of vLLM's engines. Off, they ask for nothing.
constexpr absl::string_view kOptions[] = {"disable_fallback", "disable_any_whitespace",
                                          "disable_additional_properties", "whitespace_pattern",
                                          "structural_tag"};

std::string TextOf(const json::string& text) { return {text.data(), text.size()}; }

std::string Below(const std::string& field, const json::object::const_iterator& member) {
  return absl::StrCat(field, ".", Shortened(AbslView(member->key())));
}

absl::Status Set(model::AnswerFormat made, std::optional<model::AnswerFormat>* format) {
  if (format->has_value()) {
    return FieldError(made.field, absl::StrCat("cannot be used together with ", (*format)->field));
  }
  *format = std::move(made);
  return absl::OkStatus();
}

absl::Status ReadSchema(const json::value& value, const std::string& field,
                        std::optional<model::AnswerFormat>* format) {
  if (!value.is_object() && !value.is_bool()) return Wrong(field, value, "a JSON Schema");
  return Set({.kind = Kind::kJsonSchema, .text = json::serialize(value), .field = field}, format);
}

// The object around a schema in response_format.
absl::Status ReadNamedSchema(const json::value* value, const std::string& field,
                             std::optional<model::AnswerFormat>* format) {
  const json::object* object = value == nullptr ? nullptr : value->if_object();
  if (object == nullptr) return Wrong(field, value, R"({"name": ..., "schema": ...})");
  for (auto member = object->begin(); member != object->end(); ++member) {
    const json::string_view key = member->key();
    const json::value& other = member->value();
    if (key == "schema") continue;
    if (key == "name" && other.is_string()) continue;
    if (key == "description" && (other.is_string() || other.is_null())) continue;
    if (key == "strict" && (other.is_bool() || other.is_null())) continue;
    const std::string place = Below(field, member);
    if (key == "strict") return Wrong(place, other, "true or false");
    if (key == "name" || key == "description") return Wrong(place, other, "text");
    return FieldError(place, "is not a known field");
  }
  const json::value* schema = object->if_contains("schema");
  if (schema == nullptr) return Missing(absl::StrCat(field, ".schema"), "a JSON Schema");
  return ReadSchema(*schema, absl::StrCat(field, ".schema"), format);
}

absl::Status ReadChoices(const json::value& value, const std::string& field,
                         std::optional<model::AnswerFormat>* format) {
  if (!value.is_array()) return Wrong(field, value, "a list of text");
  model::AnswerFormat made{.kind = Kind::kChoice, .field = field};
  for (std::size_t i = 0; i < value.as_array().size(); ++i) {
    const json::string* text = value.as_array()[i].if_string();
    if (text == nullptr) {
      return Wrong(absl::StrCat(field, "[", i, "]"), value.as_array()[i], "text");
    }
    made.choices.push_back(TextOf(*text));
  }
  return Set(std::move(made), format);
}

absl::Status ReadText(Kind kind, const json::value& value, const std::string& field,
                      std::optional<model::AnswerFormat>* format) {
  if (!value.is_string()) return Wrong(field, value, "text");
  return Set({.kind = kind, .text = TextOf(value.as_string()), .field = field}, format);
}

// One member of structured_outputs.
absl::Status ReadOutput(absl::string_view key, const json::value& value, const std::string& field,
                        std::optional<model::AnswerFormat>* format) {
  constexpr absl::string_view kForms[] = {"json", "json_object", "regex", "choice", "grammar"};
  const auto is_key = [key](absl::string_view name) { return name == key; };
  const bool is_option = std::any_of(std::begin(kOptions), std::end(kOptions), is_key);
  if (!is_option && std::none_of(std::begin(kForms), std::end(kForms), is_key)) {
    return FieldError(field,
                      "is not a known field, expected json, json_object, regex, choice or grammar");
  }
  if (value.is_null() || (is_option && value.is_bool() && !value.as_bool())) {
    return absl::OkStatus();
  }
  if (is_option) return NotSupported(field, value, "null or false");
  if (key == "regex") return ReadText(Kind::kRegex, value, field, format);
  if (key == "grammar") return ReadText(Kind::kGrammar, value, field, format);
  if (key == "choice") return ReadChoices(value, field, format);
  if (key == "json") {  // vLLM takes its text, too
    return value.is_string() ? ReadText(Kind::kJsonSchema, value, field, format)
                             : ReadSchema(value, field, format);
  }
  if (!value.is_bool()) return Wrong(field, value, "true or false");
  if (!value.as_bool()) return absl::OkStatus();
  return Set({.kind = Kind::kJsonObject, .field = field}, format);
}

}  // namespace

absl::Status ReadResponseFormat(const json::value& value, const std::string& field,
                                std::optional<model::AnswerFormat>* format) {
  const json::object* object = value.if_object();
  const json::value* type = object == nullptr ? nullptr : object->if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return Wrong(field, value, R"({"type": ...} with text, json_object or json_schema)");
  }
  const std::string name = TextOf(type->as_string());
  for (auto member = object->begin(); member != object->end(); ++member) {
    const json::string_view key = member->key();
    if (key == "type" || (key == "json_schema" && name == "json_schema")) continue;
    if (key == "json_schema" && member->value().is_null()) continue;
    return FieldError(Below(field, member),
                      absl::StrCat("is not a field of the type ", Shortened(name)));
  }
  if (name == "text") return absl::OkStatus();
  if (name == "json_object") return Set({.kind = Kind::kJsonObject, .field = field}, format);
  if (name == "json_schema") {
    return ReadNamedSchema(object->if_contains("json_schema"), absl::StrCat(field, ".json_schema"),
                           format);
  }
  return FieldError(absl::StrCat(field, ".type"),
                    absl::StrCat("\"", Shortened(name),
                                 "\" is not supported, expected text, json_object or json_schema"));
}

absl::Status ReadStructuredOutputs(const json::value& value, const std::string& field,
                                   std::optional<model::AnswerFormat>* format) {
  const json::object* object = value.if_object();
  if (object == nullptr) {
    return Wrong(field, value, "an object with json, json_object, regex, choice or grammar");
  }
  for (auto member = object->begin(); member != object->end(); ++member) {
    RETURN_IF_ERROR(ReadOutput({member->key().data(), member->key().size()}, member->value(),
                               Below(field, member), format));
  }
  return absl::OkStatus();
}

}  // namespace llava::api
