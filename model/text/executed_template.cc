#include "model/text/executed_template.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "boost/json/array.hpp"
#include "boost/json/object.hpp"
#include "boost/json/value.hpp"
#include "model/text/tool_prompt.h"
#include "model/text/white_space.h"

namespace llava::model {
namespace {

// Stands behind the text of a turn that stays open, so that the prompt can be cut there. Unicode
// has not assigned it, and no message can hold it (JinjaTemplate::Render). The space after it
// tells a template that strips texts, which takes the space away, from one that does not.
constexpr std::string_view kOpenMark = "\U000BFFF0";
constexpr std::string_view kOpenEnd = "\U000BFFF0 ";

boost::json::string_view NameOf(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
    case Role::kTool:
      return "tool";
  }
  return "";
}

bool IsOpen(std::span<const ChatMessage> messages) {
  return messages.back().role == Role::kAssistant;
}

std::vector<ImagePart> ImagesOf(std::span<const ChatMessage> messages) {
  std::vector<ImagePart> images;
  for (const ChatMessage& message : messages) {
    for (const MessagePart& part : message.parts) {
      if (const auto* image = std::get_if<ImagePart>(&part)) images.push_back(*image);
    }
  }
  return images;
}

std::vector<std::string> TextsOf(const ChatMessage& message) {
  std::vector<std::string> texts;
  for (const MessagePart& part : message.parts) {
    if (const auto* text = std::get_if<std::string>(&part)) texts.push_back(Utf8Repair(*text));
  }
  return texts;
}

boost::json::object TextContent(std::span<const TextSpan> spans) {
  return {{"type", "text"}, {"text", SpansValue(spans)}};
}

// Cuts what follows the text of the open turn.
absl::Status CutOpen(std::vector<TextSpan>& spans) {
  const auto is_mark = [](const TextSpan& span) {
    return !span.from_message && span.text.find(kOpenMark) != std::string::npos;
  };
  const auto span = std::find_if(spans.begin(), spans.end(), is_mark);
  if (span == spans.end() || std::count_if(spans.begin(), spans.end(), is_mark) > 1) {
    return FieldError("messages",
                      "expected a conversation that ends with the user's message (the chat "
                      "template does not write the assistant's last one as it is), found the "
                      "assistant's at its end");
  }
  const std::size_t at = span->text.find(kOpenMark);
  const bool stripped = !std::string_view(span->text).substr(at).starts_with(kOpenEnd);
  span->text.resize(at);
  spans.erase(span->text.empty() ? span : std::next(span), spans.end());
  if (stripped && !spans.empty()) {
    std::string& text = spans.back().text;
    text.resize(StripWhiteSpace(absl::StrCat(".", text)).size() - 1);
  }
  return absl::OkStatus();
}

absl::Status RequestError(const absl::Status& status) {
  if (absl::IsFailedPrecondition(status)) {
    return FieldError("messages",
                      absl::StrCat("the chat template refuses them: ", status.message()));
  }
  if (absl::IsInvalidArgument(status)) return FieldError("messages", status.message());
  return FieldError("messages",
                    absl::StrCat("the chat template fails on them: ", status.message()));
}

constexpr const char* kProbeTexts[] = {"Alpha one.", "Beta two."};

// A question or an answer with which a template is tried.
ChatMessage ProbeMessage(Role role, bool picture) {
  ChatMessage message{role, {}};
  if (picture) message.parts.emplace_back(ImagePart{0});
  for (const char* text : kProbeTexts) message.parts.emplace_back(text);
  return message;
}

// Whether the prompt has both texts of each message.
absl::Status CheckWhole(std::span<const TextSpan> spans, std::size_t num_messages) {
  std::string written;
  for (const TextSpan& span : spans) {
    if (span.from_message) absl::StrAppend(&written, span.text);
  }
  for (const char* text : kProbeTexts) {
    const std::vector<absl::string_view> pieces = absl::StrSplit(written, text);
    if (pieces.size() > num_messages) continue;
    return absl::InternalError(absl::StrCat("expected the text \"", text, "\" of each of ",
                                            num_messages, " messages in the prompt, found \"",
                                            written, "\" of them"));
  }
  return absl::OkStatus();
}

}  // namespace

ExecutedTemplate::ExecutedTemplate(JinjaTemplate jinja, std::string source, TemplateTexts texts)
    : jinja_(std::move(jinja)), source_(std::move(source)), texts_(std::move(texts)) {}

absl::StatusOr<std::shared_ptr<const ExecutedTemplate>> ExecutedTemplate::Make(
    std::string source, TemplateTexts texts) {
  ASSIGN_OR_RETURN(JinjaTemplate jinja, JinjaTemplate::Compile(source));
  std::shared_ptr<ExecutedTemplate> made(
      new ExecutedTemplate(std::move(jinja), std::move(source), std::move(texts)));
  const ChatMessage question = ProbeMessage(Role::kUser, false);
  const ChatMessage picture = ProbeMessage(Role::kUser, true);
  const ChatMessage answer = ProbeMessage(Role::kAssistant, false);
  Forms& forms = made->forms_;
  RETURN_IF_ERROR(made->FindForm(Role::kUser, std::vector{picture}, forms));
  RETURN_IF_ERROR(made->FindForm(Role::kAssistant, std::vector{picture, answer, question}, forms));
  RETURN_IF_ERROR(made->FindForm(Role::kSystem,
                                 std::vector{ProbeMessage(Role::kSystem, false), picture}, forms));
  // A lone question is what every template has to take.
  const absl::Status alone = made->Try(std::vector{question}, forms);
  if (!alone.ok()) return absl::InvalidArgumentError(alone.message());
  made->TryTools();
  return std::shared_ptr<const ExecutedTemplate>(std::move(made));
}

ExecutedTemplate::Form& ExecutedTemplate::Forms::Of(Role role) {
  switch (role) {
    case Role::kSystem:
      return system;
    case Role::kUser:
      return user;
    case Role::kAssistant:
      return assistant;
    case Role::kTool:
      break;
  }
  return tool;
}

absl::Status ExecutedTemplate::FindForm(Role role, std::span<const ChatMessage> messages,
                                        Forms& forms) const {
  Form& form = forms.Of(role);
  absl::Status first;
  std::optional<Form> refused;  // the first that the template takes well enough to refuse it
  for (const Form candidate : {Form::kParts, Form::kOneText, Form::kString}) {
    form = candidate;
    const absl::Status status = Try(messages, forms);
    if (status.ok()) return status;
    if (absl::IsFailedPrecondition(status) && !refused.has_value()) refused = candidate;
    if (first.ok()) first = status;
  }
  form = refused.value_or(Form::kParts);
  if (refused.has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(first.message());
}

absl::Status ExecutedTemplate::Try(std::span<const ChatMessage> messages,
                                   const Forms& forms) const {
  ASSIGN_OR_RETURN(const std::vector<TextSpan> spans, Spans(messages, forms));
  RETURN_IF_ERROR(CheckWhole(spans, messages.size()));
  return Parts(spans, messages).status();
}

void ExecutedTemplate::TryTools() {
  if (source_.find("tool") == std::string::npos) return;
  const std::vector<ToolFunction> functions = {
      {.name = "probe", .description = kProbeTexts[0], .parameters = R"({"type": "object"})"}};
  ChatMessage call{.role = Role::kAssistant};
  call.tool_calls.push_back({.id = "abcdefgh1", .name = "probe", .arguments = R"({"a": "b"})"});
  ChatMessage result = ProbeMessage(Role::kTool, false);
  result.tool_call_id = call.tool_calls[0].id;
  ChatMessage question{.role = Role::kUser, .parts = {std::string(kProbeTexts[1])}};
  for (const Form form : {Form::kString, Form::kParts}) {
    forms_.tool = form;
    // The first text stands in the description and in the result, the second in the question and
    // in the result.
    const auto spans = Spans(std::vector{question, call, result}, forms_, functions);
    writes_tools_ = spans.ok() && CheckWhole(*spans, 2).ok();
    if (writes_tools_) return;
  }
}

boost::json::value ExecutedTemplate::Content(const ChatMessage& message, Form form,
                                             bool open) const {
  std::vector<std::string> texts = TextsOf(message);
  const std::size_t num_images = message.parts.size() - texts.size();
  std::vector<TextSpan> spans;
  if (form == Form::kString) {
    for (std::size_t i = 0; i < num_images; ++i) {
      spans.push_back({.text = absl::StrCat(texts_.image_token, texts.empty() ? "" : "\n")});
    }
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0 && form == Form::kString) spans.push_back({.text = "\n"});
    spans.push_back({.text = texts[i], .from_message = true});
  }
  if (form == Form::kParts)
    spans.assign(1, {.text = texts.empty() ? "" : texts.back(), .from_message = true});
  if (open) spans.push_back({.text = std::string(kOpenEnd)});
  if (form == Form::kString) return SpansValue(spans);
  boost::json::array parts;
  std::size_t text = 0;
  for (const MessagePart& part : message.parts) {
    if (std::holds_alternative<ImagePart>(part)) {
      parts.push_back(boost::json::object{{"type", "image"}});
    } else if (++text == texts.size()) {
      parts.push_back(TextContent(spans));
    } else if (form == Form::kParts) {
      parts.push_back(TextContent(std::vector<TextSpan>{{texts[text - 1], true}}));
    }
  }
  return parts;
}

// A message as the template gets it.
absl::StatusOr<boost::json::value> ExecutedTemplate::Variable(std::span<const ChatMessage> messages,
                                                              std::size_t i, Forms forms) const {
  const ChatMessage& message = messages[i];
  const bool open = i + 1 == messages.size() && IsOpen(messages);
  boost::json::object variable = {{"role", NameOf(message.role)}};
  variable["content"] = message.parts.empty() && !open
                            ? boost::json::value("")
                            : Content(message, forms.Of(message.role), open);
  if (!message.tool_calls.empty()) {
    auto calls = CallsVariable(message);
    if (!calls.ok()) {
      return FieldError(absl::StrCat("messages[", i, "].tool_calls"), calls.status().message());
    }
    variable["tool_calls"] = *std::move(calls);
  }
  if (message.role == Role::kTool) {
    const std::string name = NameOfCall(messages.first(i), message.tool_call_id);
    const auto written = [](const std::string& text) {
      return SpansValue(std::vector<TextSpan>{{.text = Utf8Repair(text), .from_message = true}});
    };
    variable["name"] = written(name);
    variable["tool_call_id"] = written(message.tool_call_id);
  }
  return boost::json::value(std::move(variable));
}

absl::StatusOr<std::vector<TextSpan>> ExecutedTemplate::Spans(
    std::span<const ChatMessage> messages, const Forms& forms,
    std::span<const ToolFunction> functions) const {
  const bool open = IsOpen(messages);
  boost::json::array items;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    ASSIGN_OR_RETURN(boost::json::value item, Variable(messages, i, forms));
    items.push_back(std::move(item));
  }
  boost::json::value tools;
  if (!functions.empty()) {
    auto variable = ToolsVariable(functions);
    if (!variable.ok()) return FieldError("tools", variable.status().message());
    tools = *std::move(variable);
  }
  boost::json::object variables = {{"messages", std::move(items)},
                                   {"add_generation_prompt", !open},
                                   {"tools", std::move(tools)},
                                   {"documents", nullptr}};
  for (const auto& [name, text] : texts_.special_tokens) variables[name] = text;
  ASSIGN_OR_RETURN(std::vector<TextSpan> spans,
                   jinja_.Render(variables, RealClock().UnixMillis() / 1000));
  if (open) RETURN_IF_ERROR(CutOpen(spans));
  return spans;
}

absl::StatusOr<std::vector<PromptPart>> ExecutedTemplate::Parts(
    std::span<const TextSpan> spans, std::span<const ChatMessage> messages) const {
  const std::vector<ImagePart> images = ImagesOf(messages);
  PromptWriter out;
  std::size_t places = 0;
  for (const TextSpan& span : spans) {
    if (span.from_message) {
      out.Literal(span.text);
      continue;
    }
    std::string_view rest = span.text;
    for (std::size_t at; (at = rest.find(texts_.image_token)) != std::string_view::npos;) {
      out.Control(rest.substr(0, at));
      if (places < images.size()) out.Image(images[places]);
      ++places;
      rest.remove_prefix(at + texts_.image_token.size());
    }
    out.Control(rest);
  }
  if (places == images.size()) return out.Take();
  return FieldError("messages",
                    absl::StrCat("expected a chat template that has a place for each of ",
                                 images.size(), " images, found one with ", places));
}

absl::StatusOr<std::vector<PromptPart>> ExecutedTemplate::Render(
    std::span<const ChatMessage> messages, std::span<const ToolFunction> functions) const {
  const absl::StatusOr<std::vector<TextSpan>> spans = Spans(messages, forms_, functions);
  if (!spans.ok()) {
    return FieldOf(spans.status()).empty() ? RequestError(spans.status()) : spans.status();
  }
  return Parts(*spans, messages);
}

}  // namespace llava::model
