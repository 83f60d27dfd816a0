#include "server/chat/tool_call_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace llava::api {
namespace {

using model::CallFormat;
using ::testing::ElementsAre;

struct Found {
  std::string content;
  std::vector<std::string> calls;  // "name arguments"
  std::vector<std::string> ids;
};

// Of the text in pieces of so many bytes.
Found Read(CallFormat format, const std::string& text, std::size_t piece, int max_calls = 9) {
  ToolCallReader reader({.format = format, .functions = {"f", "g"}, .max_calls = max_calls});
  Found found;
  std::vector<CallDelta> deltas;
  const auto add = [&](const ToolCallReader::Output& more) {
    found.content += more.content;
    deltas.insert(deltas.end(), more.calls.begin(), more.calls.end());
  };
  for (std::size_t i = 0; i < text.size(); i += piece) add(reader.Push(text.substr(i, piece)));
  add(reader.Finish());
  for (const CallDelta& call : Joined(deltas)) {
    found.calls.push_back(absl::StrCat(call.name, " ", call.arguments));
    found.ids.push_back(call.id);
  }
  EXPECT_EQ(reader.has_calls(), !found.calls.empty());
  return found;
}

struct Case {
  CallFormat format;
  std::string text;
  std::string content;
  std::vector<std::string> calls;
};

void Expect(const Case& expected) {
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{999}}) {
    const Found found = Read(expected.format, expected.text, piece);
    EXPECT_EQ(found.content, expected.content) << expected.text << " by " << piece;
    EXPECT_EQ(found.calls, expected.calls) << expected.text << " by " << piece;
  }
}

TEST(ToolCallReader, TaggedCallsBetweenText) {
  Expect({CallFormat::kTagged,
          "I look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}</tool_call>\"}}\n"
          "</tool_call>\n<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>\nDone",
          "I look.Done",
          {"f {\"a\": \"}</tool_call>\"}", "g {}"}});
  Expect({CallFormat::kTagged, "a < b <tool", "a < b <tool", {}});
  Expect({CallFormat::kTagged, "Text  \n", "Text  \n", {}});
}

TEST(ToolCallReader, WhatIsNoCallStaysText) {
  for (const char* text :
       {"<tool_call>nothing</tool_call>", "<tool_call>{\"name\": \"other\", \"arguments\": {}}",
        "<tool_call>{\"arguments\": {}}</tool_call> x", "<tool_call>",
        "<tool_call>{\"name\": \"f"}) {
    Expect({CallFormat::kTagged, text, text, {}});
  }
  for (const char* text : {"{\"name\": \"other\", \"parameters\": {}}", "[1, 2]", " Hello {", "{}",
                           "[TOOL", "[{\"name\": 5}]"}) {
    Expect({CallFormat::kJson, text, text, {}});
  }
  Expect({CallFormat::kUnknown,
          R"([{"name": "f", "arguments": {}}])",
          R"([{"name": "f", "arguments": {}}])",
          {}});
}

TEST(ToolCallReader, JsonAloneIsACallOrSeveral) {
  Expect({CallFormat::kJson,
          R"({"name": "f", "parameters": {"a": [1, {"b": 2}]}})",
          "",
          {R"(f {"a": [1, {"b": 2}]})"}});
  Expect({CallFormat::kJson,
          R"( [TOOL_CALLS] [{"name": "f", "arguments": {"q": "\"]"}}, )"
          R"({"name": "g", "arguments": {}}])",
          "",
          {R"(f {"q": "\"]"})", "g {}"}});
  Expect({CallFormat::kJson,
          R"([{"arguments": {"late": 1}, "name": "f", "id": "x"}])",
          "",
          {R"(f {"late": 1})"}});
  Expect({CallFormat::kJson, R"({"name": "f", "arguments": "{\"a\": 1}"})", "", {R"(f {"a": 1})"}});
  Expect({CallFormat::kJson, R"({"name": "f"})", "", {"f {}"}});
}

TEST(ToolCallReader, ArgumentsComeAsTheyAreWritten) {
  ToolCallReader reader({.format = CallFormat::kJson, .functions = {"f"}});
  EXPECT_TRUE(reader.Push("[{\"name\": \"f\"").calls.empty());
  const auto named = reader.Push(", ").calls;
  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named[0].name, "f");
  EXPECT_EQ(named[0].id.size(), 9u);
  EXPECT_TRUE(std::all_of(named[0].id.begin(), named[0].id.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c));
  }));
  const auto begun = reader.Push("\"arguments\": {\"a\": \"lo").calls;
  ASSERT_EQ(begun.size(), 1u);
  EXPECT_EQ(begun[0].arguments, "{\"a\": \"lo");
  EXPECT_EQ(begun[0].id, "");
  EXPECT_EQ(reader.Push("ng\"").calls.at(0).arguments, "ng\"");
}

TEST(ToolCallReader, CallsAreBoundedAndTheirIdsDiffer) {
  std::string text;
  for (int i = 0; i < 5; ++i) absl::StrAppend(&text, R"({"name": "f", "arguments": {}};)");
  const Found two = Read(CallFormat::kJson, text, 3, 2);
  EXPECT_THAT(two.calls, ElementsAre("f {}", "f {}"));
  EXPECT_EQ(two.content, "");
  EXPECT_NE(two.ids[0], two.ids[1]);
}

TEST(ToolCallReader, ACallThatWasCutKeepsWhatItHas) {
  const Found cut = Read(CallFormat::kJson, R"([{"name": "f", "arguments": {"a": 1)", 4);
  EXPECT_THAT(cut.calls, ElementsAre(R"(f {"a": 1)"));
  EXPECT_EQ(cut.content, "");
}

}  // namespace
}  // namespace llava::api
