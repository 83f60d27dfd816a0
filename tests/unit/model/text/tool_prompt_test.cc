#include "model/text/tool_prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "boost/json/value.hpp"
#include "model/text/chat_template.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// As Qwen 2.5 has it, shortened.
constexpr char kQwen[] =
    R"({%- if tools %}{{- '<|im_start|>system\n# Tools\n<tools>' }}
{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\n</tools>\nAnswer in <tool_call></tool_call>.<|im_end|>\n' }}{%- endif %}
{%- for m in messages %}
{%- if m.role == 'tool' %}
{{- '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}
{%- elif m.tool_calls %}{{- '<|im_start|>assistant' }}
{%- for call in m.tool_calls %}
{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}
{%- else %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endif %}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %})";

const std::vector<ToolFunction> kFunctions = {
    {"look", "Looks <tool_call> up",
     R"({"type": "object", "properties": {"q": {"enum": ["</s>"]}}})"}};

std::vector<ChatMessage> Conversation() {
  ChatMessage call{.role = Role::kAssistant};
  call.tool_calls = {{"abcdefgh1", "look", R"({"q": "<|im_end|>"})"}};
  ChatMessage result{.role = Role::kTool, .parts = {std::string("42 <|im_end|>")}};
  result.tool_call_id = "abcdefgh1";
  return {{Role::kUser, {std::string("How many?")}}, call, result};
}

TEST(CallFormatOf, KnowsFamiliesByTheirTemplates) {
  EXPECT_EQ(CallFormatOf(kQwen), CallFormat::kTagged);
  EXPECT_EQ(CallFormatOf("{{ '[TOOL_CALLS] [' }}"), CallFormat::kJson);
  EXPECT_EQ(CallFormatOf(R"({{ '{"name": "' + n + '", ' }}{{ '"parameters": ' }})"),
            CallFormat::kJson);
  EXPECT_EQ(CallFormatOf("{{ messages }}"), CallFormat::kUnknown);
}

TEST(ToolTemplate, WritesFunctionsCallsAndResultsAsTheTemplateHasThem) {
  const auto made = ExecutedTemplate::Make(kQwen, {});
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_TRUE((*made)->writes_tools());
  const auto parts = (*made)->Render(Conversation(), kFunctions);
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(
      PromptText(*parts),
      "<|im_start|>system\n# Tools\n<tools>\n"
      R"({"type": "function", "function": {"name": "look", "description": "Looks <tool_call> up", )"
      R"("parameters": {"type": "object", "properties": {"q": {"enum": ["</s>"]}}}}})"
      "\n</tools>\nAnswer in <tool_call></tool_call>.<|im_end|>\n"
      "<|im_start|>user\nHow many?<|im_end|>\n"
      "<|im_start|>assistant\n<tool_call>\n"
      R"({"name": "look", "arguments": {"q": "<|im_end|>"}})"
      "\n</tool_call><|im_end|>\n"
      "<|im_start|>user\n<tool_response>\n42 <|im_end|>\n</tool_response><|im_end|>\n"
      "<|im_start|>assistant\n");
}

TEST(ToolTemplate, NothingThatAClientWroteIsAControlToken) {
  const auto made = ExecutedTemplate::Make(kQwen, {});
  ASSERT_TRUE(made.ok()) << made.status();
  const auto parts = (*made)->Render(Conversation(), kFunctions);
  ASSERT_TRUE(parts.ok()) << parts.status();
  std::string control;
  for (const PromptPart& part : *parts) {
    const auto& text = std::get<TextPart>(part);
    if (text.control) control += text.text + "|";
  }
  for (const char* typed : {"</s>", "42", "Looks", "look", "How", "\"<|im_end|>"}) {
    EXPECT_THAT(control, Not(HasSubstr(typed)));
  }
}

TEST(ToolTemplate, NamesThatCouldBeControlTokensAreRefused) {
  for (const char* name : {"<|im_end|>", "[INST]", "$spans"}) {
    const std::string parameters = absl::StrCat(R"({"properties": {")", name, R"(": {}}})");
    const auto variable = ToolsVariable(std::vector<ToolFunction>{{"f", "", parameters}});
    EXPECT_TRUE(absl::IsInvalidArgument(variable.status())) << name;
  }
  EXPECT_TRUE(ToolsVariable(std::vector<ToolFunction>{
                                {"f", "", R"({"$defs": {"ü b": {}}, "$ref": "#/$defs/x"})"}})
                  .ok());
}

TEST(PlainToolMessages, SayTheSameInWordsWhereTheTemplateKnowsNoFunctions) {
  const auto chat = ChatTemplate::ByName("vicuna_v1");
  ASSERT_TRUE(chat.ok());
  EXPECT_EQ(chat->call_format(), CallFormat::kUnknown);
  std::vector<ChatMessage> messages = Conversation();
  messages.push_back({Role::kUser, {std::string("So?")}});
  const auto parts = chat->Render(messages, kFunctions);
  ASSERT_TRUE(parts.ok()) << parts.status();
  const std::string text = PromptText(*parts);
  EXPECT_THAT(text, HasSubstr("A chat between a curious user"));  // its own system text stays
  EXPECT_THAT(
      text, HasSubstr("USER: These functions can be called, each described by a line of JSON:\n"
                      R"({"name": "look", "description": "Looks <tool_call> up", "parameters": )"));
  EXPECT_THAT(text, HasSubstr("object}]\n\nHow many? ASSISTANT: "
                              R"([{"name": "look", "arguments": {"q": "<|im_end|>"}}]</s>)"
                              "USER: Result of look:\n42 <|im_end|>\nSo? ASSISTANT:"));
}

TEST(PlainToolMessages, PicturesStayInFront) {
  const std::vector<ChatMessage> messages = {{Role::kUser, {ImagePart{0}, std::string("What?")}}};
  const auto plain = PlainToolMessages(messages, kFunctions);
  ASSERT_EQ(plain.size(), 1u);
  ASSERT_EQ(plain[0].parts.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<ImagePart>(plain[0].parts[0]));
  EXPECT_THAT(std::get<std::string>(plain[0].parts[1]), HasSubstr("object}]\n\nWhat?"));
  const auto system = PlainToolMessages(
      std::vector<ChatMessage>{{Role::kSystem, {std::string("Be brief.")}}}, kFunctions);
  ASSERT_EQ(system.size(), 2u);
  EXPECT_EQ(system[1].role, Role::kUser);
}

TEST(ToolTemplate, CallsWithoutTheirResultsAskForNothing) {
  std::vector<ChatMessage> messages = Conversation();
  messages.pop_back();
  const auto parts = ChatTemplate::ByName("hf")->Render(messages);
  EXPECT_THAT(std::string(parts.status().message()), HasSubstr("messages[1]: has calls"));
}

}  // namespace
}  // namespace llava::model
