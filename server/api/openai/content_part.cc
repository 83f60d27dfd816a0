#include "server/api/openai/content_part.h"

#include <boost/json/object.hpp>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/openai/json_body.h"

namespace llava::api {
namespace {

namespace json = boost::json;

constexpr absl::string_view kParts =
    R"({"type": "text", "text": ...} or {"type": "image_url", "image_url": {"url": ...}})";

std::string Below(const std::string& field, absl::string_view name) {
  return absl::StrCat(field, ".", Shortened(name));
}

absl::Status CheckMembers(const json::object& part, const std::string& field,
                          absl::string_view type) {
  for (const auto& [key, value] : part) {
    const absl::string_view name = AbslView(key);
    if (name == "type" || name == type || IsHint(name) || AsksForNothing(value)) continue;
    return NotSupported(Below(field, name), value,
                        absl::StrCat("type and ", type, " in a part of the type ", type));
  }
  return absl::OkStatus();
}

absl::Status CheckDetail(const json::value& value, const std::string& field) {
  for (const char* name : {"auto", "low", "high", "original"}) {
    if (value == json::value(name)) return absl::OkStatus();
  }
  return Wrong(field, value, "auto, low, high or original");
}

}  // namespace

bool AsksForNothing(const json::value& value) {
  return value.is_null() || (value.is_string() && value.as_string().empty()) ||
         (value.is_array() && value.as_array().empty()) ||
         (value.is_object() && value.as_object().empty());
}

bool IsHint(absl::string_view name) {
  return name == "prompt_cache_breakpoint" || name == "cache_control" || name == "uuid";
}

absl::StatusOr<ContentPart> ReadContentPart(const json::value& value, const std::string& field,
                                            model::Role role) {
  const json::object* part = value.if_object();
  if (part == nullptr) return Wrong(field, value, kParts);
  const json::value* type = part->if_contains("type");
  const bool typed = type != nullptr && type->is_string();
  const absl::string_view name = typed ? AbslView(type->as_string()) : absl::string_view();
  if (name != "text" && name != "refusal" && name != "image_url") {
    return FieldError(
        field, absl::StrCat(type == nullptr ? "has no type" : "has the type " + ShownValue(*type),
                            ", expected ", kParts));
  }
  const json::value* content = part->if_contains(type->as_string());
  if (content == nullptr) {
    return FieldError(field, absl::StrCat("has no ", name, ", expected ", kParts));
  }
  if (name == "refusal" && role != model::Role::kAssistant && !AsksForNothing(*content)) {
    return NotSupported(Below(field, name), *content, "one in a message of the assistant only");
  }
  RETURN_IF_ERROR(CheckMembers(*part, field, name));
  return ContentPart{name, content};
}

absl::StatusOr<absl::string_view> ReadImageUrl(const json::value& value, std::string* place) {
  const json::value* url = &value;
  if (const json::object* object = value.if_object()) {
    for (const auto& [key, member] : *object) {
      const std::string there = Below(*place, AbslView(key));
      if (key == "url" || IsHint(AbslView(key)) || member.is_null()) continue;
      if (key == "detail") {
        RETURN_IF_ERROR(CheckDetail(member, there));
      } else if (!AsksForNothing(member)) {
        return NotSupported(there, member, "url and detail");
      }
    }
    url = object->if_contains("url");
    absl::StrAppend(place, ".url");
  }
  if (url == nullptr || !url->is_string()) {
    return Wrong(*place, url, "a URL, such as a data: URI");
  }
  return AbslView(url->as_string());
}

}  // namespace llava::api
