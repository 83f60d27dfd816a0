#include "server/chat/tool_use.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/field_error.h"

namespace llava::api {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

ToolUse Use(const std::string& function = "") {
  ToolUse use;
  use.functions = {{"f", "", "{}"}, {"g", "", R"({"type": "object"})"}};
  use.choice = ToolUse::Choice::kRequired;
  use.function = function;
  return use;
}

std::string Wrong(const ToolUse& use, const std::optional<model::AnswerFormat>& format = {}) {
  return FieldOf(CheckToolUse(use, format));
}

TEST(CheckToolUseTest, NamesTheField) {
  EXPECT_TRUE(CheckToolUse(Use(), {}).ok());
  EXPECT_TRUE(CheckToolUse({}, {}).ok());
  EXPECT_EQ(Wrong(Use("h")), "tool_choice");
  ToolUse use = Use();
  use.functions[1].name = "f";
  EXPECT_EQ(Wrong(use), "tools[1]");
  for (const char* name : {"", "a b", "</s>", "ü"}) {
    use.functions[1].name = name;
    EXPECT_EQ(Wrong(use), "tools[1]");
  }
  use.functions[1] = {"g", "", "[]"};
  EXPECT_EQ(Wrong(use), "tools[1]");
  use.functions.clear();
  EXPECT_EQ(Wrong(use), "tool_choice");
  use.functions.resize(129, {"f", "", "{}"});
  EXPECT_EQ(Wrong(use), "tools");
}

TEST(CheckToolUseTest, AFormGoesWithNoneAlone) {
  const model::AnswerFormat format{.field = "response_format"};
  ToolUse use = Use();
  EXPECT_EQ(Wrong(use, format), "tools");
  use.choice = ToolUse::Choice::kAuto;
  EXPECT_EQ(Wrong(use, format), "tools");
  use.choice = ToolUse::Choice::kNone;
  EXPECT_EQ(Wrong(use, format), "");
}

TEST(CheckToolMessagesTest, AResultAnswersACallBeforeIt) {
  using model::Role;
  model::ChatMessage call{.role = Role::kAssistant};
  call.tool_calls = {{"id1", "f", "{}"}};
  model::ChatMessage result{.role = Role::kTool, .parts = {std::string("x")}};
  result.tool_call_id = "id1";
  EXPECT_TRUE(CheckToolMessages(std::vector{call, result}).ok());
  EXPECT_EQ(FieldOf(CheckToolMessages(std::vector{result, call})), "messages[0].tool_call_id");
  EXPECT_THAT(std::string(CheckToolMessages(std::vector{result, call}).message()),
              HasSubstr("is 'id1', expected the id of a call in a message before it"));
  result.tool_call_id = "";
  EXPECT_EQ(FieldOf(CheckToolMessages(std::vector{call, result})), "messages[1].tool_call_id");
  EXPECT_THAT(std::string(CheckToolMessages(std::vector{call, result}).message()),
              HasSubstr("is missing, expected the id of a call in a message before it"));
  result.tool_call_id = "id1";
  result.role = Role::kUser;
  EXPECT_EQ(FieldOf(CheckToolMessages(std::vector{call, result})), "messages[1].tool_call_id");
  call.tool_calls[0].arguments = "7";
  EXPECT_EQ(FieldOf(CheckToolMessages(std::vector{call})), "messages[0].tool_calls[0]");
  call.tool_calls[0] = {"id1", "<x>", "{}"};
  EXPECT_EQ(FieldOf(CheckToolMessages(std::vector{call})), "messages[0].tool_calls[0]");
  call.tool_calls[0].name = "f";
  call.role = Role::kUser;
  EXPECT_EQ(FieldOf(CheckToolMessages(std::vector{call})), "messages[0].tool_calls");
}

TEST(ToolUseTest, OneCallWhereOneIsNamedOrNotSeveralAreAskedFor) {
  EXPECT_THAT(FormatOfCalls(Use()).functions, SizeIs(2));
  EXPECT_EQ(FormatOfCalls(Use()).max_calls, kMaxCalls);
  EXPECT_THAT(FormatOfCalls(Use("g")).functions, SizeIs(1));
  EXPECT_EQ(FormatOfCalls(Use("g")).max_calls, 1);
  ToolUse use = Use();
  use.parallel = false;
  EXPECT_EQ(FormatOfCalls(use).max_calls, 1);
}

TEST(ToolUseTest, WhatIsNotAllowedIsAsIfItWereNotThere) {
  ToolUse use = Use();
  EXPECT_THAT(Offered(use), SizeIs(2));
  use.allowed = {"g", "g"};
  EXPECT_TRUE(CheckToolUse(use, {}).ok());
  ASSERT_THAT(Offered(use), SizeIs(1));
  EXPECT_EQ(Offered(use)[0].name, "g");
  ASSERT_THAT(FormatOfCalls(use).functions, SizeIs(1));
  EXPECT_EQ(FormatOfCalls(use).functions[0].name, "g");
  EXPECT_EQ(FormatOfCalls(use).max_calls, kMaxCalls);
  EXPECT_THAT(ReaderOptions(use, model::CallFormat::kTagged).functions, SizeIs(1));
  use.allowed = {"g", "h"};
  EXPECT_EQ(Wrong(use), "tool_choice");
  use.choice = ToolUse::Choice::kNone;
  EXPECT_THAT(Offered(use), SizeIs(0));
}

TEST(ToolUseTest, ForcedCallsAreJsonWhateverTheFamilyWrites) {
  ToolUse use = Use();
  EXPECT_EQ(ReaderOptions(use, model::CallFormat::kTagged).format, model::CallFormat::kJson);
  use.choice = ToolUse::Choice::kAuto;
  EXPECT_EQ(ReaderOptions(use, model::CallFormat::kTagged).format, model::CallFormat::kTagged);
  EXPECT_THAT(ReaderOptions(use, model::CallFormat::kTagged).functions, SizeIs(2));
}

}  // namespace
}  // namespace llava::api
