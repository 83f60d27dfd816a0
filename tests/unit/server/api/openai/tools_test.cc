#include "server/api/openai/tools.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/field_error.h"

namespace llava::api {
namespace {

namespace json = boost::json;

TEST(ReadToolsTest, FunctionsAreRead) {
  ToolUse use;
  const absl::Status status =
      ReadTools(json::parse(R"([{"type": "function", "function": {"name": "f", "description": "d",
                      "strict": true, "parameters": {"type": "object"}}},
                      {"type": "function", "function": {"name": "g", "description": null}}])"),
                "tools", &use);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(use.functions.size(), 2u);
  EXPECT_EQ(use.functions[0].name, "f");
  EXPECT_EQ(use.functions[0].description, "d");
  EXPECT_EQ(use.functions[0].parameters, R"({"type":"object"})");
  EXPECT_EQ(use.functions[1].parameters, kNoParameters);
}

TEST(ReadToolsTest, WhatIsWrongIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"{}", "tools"},
      {"[1]", "tools[0]"},
      {R"([{"type": "custom", "custom": {}}])", "tools[0].type"},
      {R"([{"type": "function"}])", "tools[0].function"},
      {R"([{"type": "function", "function": "f"}])", "tools[0].function"},
      {R"([{"type": "function", "function": {}}])", "tools[0].function.name"},
      {R"([{"type": "function", "function": {"name": "f"}, "x": 1}])", "tools[0].x"},
      {R"([{"type": "function", "function": {"name": "f", "y": 1}}])", "tools[0].function.y"},
      {R"([{"type": "function", "function": {"name": "f", "strict": 1}}])",
       "tools[0].function.strict"},
      {R"([{"type": "function", "function": {"name": "f", "parameters": []}}])",
       "tools[0].function.parameters"},
  };
  for (const auto& [text, field] : cases) {
    ToolUse use;
    EXPECT_EQ(FieldOf(ReadTools(json::parse(text), "tools", &use)), field) << text;
  }
}

TEST(ReadToolsTest, WhatCameInTheirPlaceIsSaid) {
  const auto said = [](const char* text) {
    ToolUse use;
    return std::string(ReadTools(json::parse(text), "tools", &use).message());
  };
  EXPECT_EQ(said(R"([{"type": "custom"}])"), "tools[0].type: is 'custom', expected \"function\"");
  EXPECT_EQ(said(R"([3])"),
            R"(tools[0]: is 3, expected {"type": "function", "function": {"name": ...}})");
}

TEST(ReadToolChoiceTest, WordsAndAFunction) {
  const auto read = [](const char* text) {
    ToolUse use;
    const absl::Status status = ReadToolChoice(json::parse(text), "tool_choice", &use);
    return std::pair(FieldOf(status), use);
  };
  EXPECT_EQ(read("\"none\"").second.choice, ToolUse::Choice::kNone);
  EXPECT_EQ(read("\"auto\"").second.choice, ToolUse::Choice::kAuto);
  EXPECT_EQ(read("\"required\"").second.choice, ToolUse::Choice::kRequired);
  const auto named = read(R"({"type": "function", "function": {"name": "f"}})").second;
  EXPECT_EQ(named.choice, ToolUse::Choice::kRequired);
  EXPECT_EQ(named.function, "f");
  EXPECT_EQ(read("\"f\"").first, "tool_choice");
  EXPECT_EQ(read(R"({"type": "function", "function": {}})").first, "tool_choice.function.name");
  EXPECT_EQ(read(R"({"type": "custom", "custom": {"name": "f"}})").first, "tool_choice.type");
}

TEST(ReadToolChoiceTest, SomeOfTheFunctions) {
  const auto read = [](const std::string& text) {
    ToolUse use;
    const absl::Status status = ReadToolChoice(
        json::parse(R"({"type": "allowed_tools", "allowed_tools": )" + text + "}"), "c", &use);
    return std::pair(FieldOf(status), use);
  };
  const std::string functions =
      R"("tools": [{"type": "function", "function": {"name": "f"}},
                   {"type": "function", "function": {"name": "g"}}]})";
  const auto [field, use] = read(R"({"mode": "auto", )" + functions);
  EXPECT_EQ(field, "");
  EXPECT_EQ(use.choice, ToolUse::Choice::kAuto);
  EXPECT_EQ(use.function, "");
  EXPECT_EQ(use.allowed, (std::vector<std::string>{"f", "g"}));
  EXPECT_EQ(read(R"({"mode": "required", )" + functions).second.choice, ToolUse::Choice::kRequired);

  const std::pair<std::string, const char*> wrong[] = {
      {"[]", "c.allowed_tools"},
      {"{" + functions, "c.allowed_tools.mode"},
      {R"({"mode": "none", )" + functions, "c.allowed_tools.mode"},
      {R"({"mode": "auto", "x": 1, )" + functions, "c.allowed_tools.x"},
      {R"({"mode": "auto"})", "c.allowed_tools.tools"},
      {R"({"mode": "auto", "tools": []})", "c.allowed_tools.tools"},
      {R"({"mode": "auto", "tools": [{"type": "custom"}]})", "c.allowed_tools.tools[0].type"},
      {R"({"mode": "auto", "tools": [{"type": "function", "function": {}}]})",
       "c.allowed_tools.tools[0].function.name"},
  };
  for (const auto& [text, place] : wrong) EXPECT_EQ(read(text).first, place) << text;
}

TEST(ReadToolCallsTest, CallsAreReadStrictly) {
  std::vector<model::ToolCall> calls;
  const char text[] =
      R"([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}])";
  ASSERT_TRUE(ReadToolCalls(json::parse(text), "c", &calls).ok());
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].id, "1");
  EXPECT_EQ(calls[0].arguments, "{}");
  EXPECT_EQ(FieldOf(ReadToolCalls(json::parse("[{}]"), "c", &calls)), "c[0].function");
  EXPECT_EQ(FieldOf(ReadToolCalls(
                json::parse(R"([{"function": {"name": "f", "arguments": "{}"}}])"), "c", &calls)),
            "c[0].id");
}

// What openai's libraries have read in an answer goes back with it, as do hints to caches.
TEST(ReadToolCallsTest, WhatALibraryReadInACallIsPassedOver) {
  std::vector<model::ToolCall> calls;
  const char text[] =
      R"([{"id": "1", "index": 0, "type": "function", "extra_content": {}, "function":
           {"name": "f", "arguments": "{\"q\": 1}", "parsed_arguments": {"q": 1}}}])";
  const absl::Status status = ReadToolCalls(json::parse(text), "c", &calls);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].arguments, "{\"q\": 1}");
  ToolUse use;
  EXPECT_TRUE(ReadTools(json::parse(R"([{"type": "function", "cache_control": {"type": "ephemeral"},
                                         "function": {"name": "f"}}])"),
                        "tools", &use)
                  .ok());
  EXPECT_EQ(FieldOf(ReadTools(json::parse(R"([{"type": "function", "index": 0,
                                               "function": {"name": "f"}}])"),
                              "tools", &use)),
            "tools[0].index");
}

TEST(ToToolCallsTest, DeltasAndWholeCalls) {
  const std::vector<CallDelta> deltas = {{.index = 0, .id = "a", .name = "f"},
                                         {.index = 0, .arguments = "{\"x\""},
                                         {.index = 0, .arguments = ": 1}"},
                                         {.index = 1, .id = "b", .name = "g", .arguments = "{}"}};
  EXPECT_EQ(json::serialize(ToToolCallDeltas({deltas[0], deltas[1]})),
            R"([{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}},)"
            R"({"index":0,"function":{"arguments":"{\"x\""}}])");
  EXPECT_EQ(json::serialize(ToToolCalls(deltas)),
            R"([{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}},)"
            R"({"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}])");
}

}  // namespace
}  // namespace llava::api
