// Input: a Jinja template, a byte 0, and what a message holds. Always: a template that is none, or
// that fails or does too much, is an error with a short message; what it renders is UTF-8; and who
// wrote a text changes nothing of what is rendered.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/utf8_stream.h"
#include "boost/json/array.hpp"
#include "boost/json/object.hpp"
#include "model/template/jinja_template.h"
#include "model/text/executed_template.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxMessage = 1 << 16;

boost::json::object Variables(const std::string& text, bool from_message) {
  const std::vector<TextSpan> spans = {{.text = text, .from_message = from_message}};
  boost::json::array messages;
  for (const char* role : {"system", "user", "assistant", "user"}) {
    messages.push_back(boost::json::object{{"role", role}, {"content", SpansValue(spans)}});
  }
  return {{"messages", std::move(messages)},
          {"add_generation_prompt", true},
          {"tools", nullptr},
          {"eos_token", "</s>"}};
}

std::string Joined(const std::vector<TextSpan>& spans) {
  std::string text;
  for (const TextSpan& span : spans) {
    LLAVA_CHECK(!span.text.empty());
    text += span.text;
  }
  return text;
}

void Render(const JinjaTemplate& jinja, const std::string& text) {
  const auto said = jinja.Render(Variables(text, true), 0);
  const auto own = jinja.Render(Variables(text, false), 0);
  if (!said.ok()) {
    LLAVA_CHECK(said.status().message().size() <= kMaxMessage);
    return;
  }
  LLAVA_CHECK(IsValidUtf8(Joined(*said)));
  if (own.ok()) LLAVA_CHECK(Joined(*said) == Joined(*own));
}

}  // namespace
}  // namespace llava::model

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace model = llava::model;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = std::min(input.find('\0'), size);
  const std::string_view source = input.substr(0, cut);
  const std::string text = llava::Utf8Repair(input.substr(std::min(cut + 1, size)));
  const auto jinja = model::JinjaTemplate::Compile(source);
  if (!jinja.ok()) return 0;
  model::Render(*jinja, text);
  const auto executed = model::ExecutedTemplate::Make(std::string(source), {});
  if (!executed.ok()) return 0;
  const std::vector<model::ChatMessage> messages = {
      {model::Role::kUser, {model::ImagePart{0}, text, text}},
      {model::Role::kAssistant, {text}},
      {model::Role::kUser, {text}}};
  static_cast<void>((*executed)->Render(messages));
  static_cast<void>((*executed)->Render({messages.data(), 2}));
  return 0;
}
