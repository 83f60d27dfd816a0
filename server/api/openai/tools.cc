#include "server/api/openai/tools.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/openai/content_part.h"
#include "server/api/openai/json_body.h"

namespace llava::api {
namespace {

namespace json = boost::json;

// An object that has no other members than hints and those that ask for nothing.
absl::Status CheckMembers(const json::object& object, const std::string& field,
                          std::initializer_list<json::string_view> names) {
  for (const auto& [key, value] : object) {
    const json::string_view name = key;
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    if (AsksForNothing(value) || IsHint(AbslView(name))) continue;
    return FieldError(absl::StrCat(field, ".", Shortened(AbslView(name))), "is not a known field");
  }
  return absl::OkStatus();
}

absl::Status ReadText(const json::object& object, const char* name, const std::string& field,
                      bool needed, std::string* out) {
  const json::value* value = object.if_contains(name);
  if (!needed && (value == nullptr || value->is_null())) return absl::OkStatus();
  if (value == nullptr || !value->is_string()) {
    return Wrong(absl::StrCat(field, ".", name), value, "text");
  }
  *out = std::string(value->as_string().data(), value->as_string().size());
  return absl::OkStatus();
}

// {"type": "function", "function": {...}}, whose function is returned. A call has an id too, and
// its place among the calls where it was read from a stream.
absl::StatusOr<const json::object*> FunctionIn(const json::value& value, const std::string& field,
                                               bool is_call = false) {
  const json::object* object = value.if_object();
  const json::value* function = object == nullptr ? nullptr : object->if_contains("function");
  const json::value* type = object == nullptr ? nullptr : object->if_contains("type");
  const bool typed = type == nullptr || *type == json::value("function");
  constexpr absl::string_view kFunction = R"({"type": "function", "function": {"name": ...}})";
  if (object == nullptr) return Wrong(field, value, kFunction);
  if (!typed) return Wrong(absl::StrCat(field, ".type"), type, "\"function\"");
  if (function == nullptr || !function->is_object()) {
    return Wrong(absl::StrCat(field, ".function"), function,
                 absl::StrCat("an object, as in ", kFunction));
  }
  const auto status = is_call ? CheckMembers(*object, field, {"type", "function", "id", "index"})
                              : CheckMembers(*object, field, {"type", "function"});
  RETURN_IF_ERROR(status);
  return &function->as_object();
}

absl::StatusOr<model::ToolFunction> ReadFunction(const json::object& object,
                                                 const std::string& field) {
  RETURN_IF_ERROR(CheckMembers(object, field, {"name", "description", "parameters", "strict"}));
  model::ToolFunction function;
  RETURN_IF_ERROR(ReadText(object, "name", field, true, &function.name));
  RETURN_IF_ERROR(ReadText(object, "description", field, false, &function.description));
  const json::value* strict = object.if_contains("strict");
  if (strict != nullptr && !strict->is_bool() && !strict->is_null()) {
    return Wrong(absl::StrCat(field, ".strict"), strict, "true or false");
  }
  const json::value* parameters = object.if_contains("parameters");
  if (parameters == nullptr || parameters->is_null()) {
    function.parameters = kNoParameters;
  } else if (parameters->is_object()) {
    function.parameters = json::serialize(*parameters);
  } else {
    return Wrong(absl::StrCat(field, ".parameters"), parameters, "a JSON Schema of an object");
  }
  return function;
}

// {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [...]}}, whose tools are
// named as a single one is.
absl::Status ReadAllowedTools(const json::object& choice, const std::string& field, ToolUse* use) {
  RETURN_IF_ERROR(CheckMembers(choice, field, {"type", "allowed_tools"}));
  const std::string place = absl::StrCat(field, ".allowed_tools");
  const json::value* value = choice.if_contains("allowed_tools");
  if (value == nullptr || !value->is_object()) {
    return Wrong(place, value, R"({"mode": ..., "tools": [...]})");
  }
  const json::object& object = value->as_object();
  RETURN_IF_ERROR(CheckMembers(object, place, {"mode", "tools"}));
  std::string mode;
  RETURN_IF_ERROR(ReadText(object, "mode", place, true, &mode));
  if (mode != "auto" && mode != "required") {
    return Wrong(absl::StrCat(place, ".mode"), object.at("mode"), R"("auto" or "required")");
  }
  use->choice = mode == "auto" ? ToolUse::Choice::kAuto : ToolUse::Choice::kRequired;
  const json::value* tools = object.if_contains("tools");
  const std::string list = absl::StrCat(place, ".tools");
  if (tools == nullptr || !tools->is_array() || tools->as_array().empty()) {
    return Wrong(list, tools, "a list of at least one function");
  }
  for (std::size_t i = 0; i < tools->as_array().size(); ++i) {
    const std::string item = absl::StrCat(list, "[", i, "]");
    ASSIGN_OR_RETURN(const json::object* function, FunctionIn(tools->as_array()[i], item));
    RETURN_IF_ERROR(CheckMembers(*function, absl::StrCat(item, ".function"), {"name"}));
    RETURN_IF_ERROR(ReadText(*function, "name", absl::StrCat(item, ".function"), true,
                             &use->allowed.emplace_back()));
  }
  return absl::OkStatus();
}

json::object Begun(const CallDelta& delta) {
  return {{"id", delta.id},
          {"type", "function"},
          {"function", {{"name", delta.name}, {"arguments", delta.arguments}}}};
}

}  // namespace

absl::Status ReadTools(const json::value& value, const std::string& field, ToolUse* use) {
  if (!value.is_array()) return Wrong(field, value, "a list of functions");
  for (std::size_t i = 0; i < value.as_array().size(); ++i) {
    const std::string place = absl::StrCat(field, "[", i, "]");
    ASSIGN_OR_RETURN(const json::object* object, FunctionIn(value.as_array()[i], place));
    ASSIGN_OR_RETURN(model::ToolFunction function,
                     ReadFunction(*object, absl::StrCat(place, ".function")));
    use->functions.push_back(std::move(function));
  }
  return absl::OkStatus();
}

absl::Status ReadToolChoice(const json::value& value, const std::string& field, ToolUse* use) {
  if (value == json::value("none")) {
    use->choice = ToolUse::Choice::kNone;
  } else if (value == json::value("auto")) {
    use->choice = ToolUse::Choice::kAuto;
  } else if (value == json::value("required")) {
    use->choice = ToolUse::Choice::kRequired;
  } else if (value.is_object()) {
    const json::value* type = value.as_object().if_contains("type");
    if (type != nullptr && *type == json::value("allowed_tools")) {
      return ReadAllowedTools(value.as_object(), field, use);
    }
    if (type != nullptr && *type != json::value("function")) {
      return Wrong(absl::StrCat(field, ".type"), type, R"("function" or "allowed_tools")");
    }
    ASSIGN_OR_RETURN(const json::object* function, FunctionIn(value, field));
    RETURN_IF_ERROR(CheckMembers(*function, absl::StrCat(field, ".function"), {"name"}));
    use->choice = ToolUse::Choice::kRequired;
    return ReadText(*function, "name", absl::StrCat(field, ".function"), true, &use->function);
  } else {
    return Wrong(field, value,
                 "\"none\", \"auto\", \"required\" or an object of the type \"function\" or "
                 "\"allowed_tools\"");
  }
  return absl::OkStatus();
}

absl::Status ReadToolCalls(const json::value& value, const std::string& field,
                           std::vector<model::ToolCall>* calls) {
  if (!value.is_array()) return Wrong(field, value, "a list of calls");
  for (std::size_t i = 0; i < value.as_array().size(); ++i) {
    const json::value& item = value.as_array()[i];
    const std::string place = absl::StrCat(field, "[", i, "]");
    ASSIGN_OR_RETURN(const json::object* function, FunctionIn(item, place, /*is_call=*/true));
    model::ToolCall call;
    RETURN_IF_ERROR(ReadText(item.as_object(), "id", place, true, &call.id));
    const std::string there = absl::StrCat(place, ".function");
    // openai's reading of the arguments stands beside them.
    RETURN_IF_ERROR(CheckMembers(*function, there, {"name", "arguments", "parsed_arguments"}));
    RETURN_IF_ERROR(ReadText(*function, "name", there, true, &call.name));
    RETURN_IF_ERROR(ReadText(*function, "arguments", there, true, &call.arguments));
    calls->push_back(std::move(call));
  }
  return absl::OkStatus();
}

json::array ToToolCallDeltas(const std::vector<CallDelta>& deltas) {
  json::array calls;
  for (const CallDelta& delta : deltas) {
    json::object call = {{"index", delta.index}};
    if (delta.name.empty()) {
      call["function"] = {{"arguments", delta.arguments}};
    } else {
      for (auto& [key, value] : Begun(delta)) call[key] = std::move(value);
    }
    calls.push_back(std::move(call));
  }
  return calls;
}

json::array ToToolCalls(const std::vector<CallDelta>& deltas) {
  json::array calls;
  for (const CallDelta& call : Joined(deltas)) calls.push_back(Begun(call));
  return calls;
}

}  // namespace llava::api
