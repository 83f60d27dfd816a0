#include "server/api/openai/batch_row.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "server/api/openai/json_body.h"

namespace llava::api {
namespace {

constexpr char kChat[] = "/v1/chat/completions";

std::string Line(const std::string& members) {
  return absl::StrCat(R"({"method":"POST","url":"/v1/chat/completions",)", members, "}");
}

TEST(BatchRowTest, ARowIsItsNameAndABodyOfLowPriority) {
  const auto row = ParseBatchRow(
      Line(R"("custom_id":"a","body":{"n":2,"stream":false,"priority":"high"})"), kChat);
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_EQ(row->custom_id, "a");
  EXPECT_EQ(row->body, R"({"n":2,"stream":false,"priority":"low"})");
}

TEST(BatchRowTest, ABodyMayBeAsDeepAsThatOfARequest) {
  const auto body = [](std::size_t depth) {
    return absl::StrCat(R"({"x":)", std::string(depth - 1, '['), std::string(depth - 1, ']'), "}");
  };
  for (const std::size_t depth : {kMaxJsonDepth, kMaxJsonDepth + 1}) {
    const auto row = ParseBatchRow(Line(R"("custom_id":"a","body":)" + body(depth)), kChat);
    EXPECT_EQ(row.ok(), depth == kMaxJsonDepth) << row.status();
    EXPECT_EQ(ParseJsonObject(body(depth)).ok(), depth == kMaxJsonDepth);
  }
}

TEST(BatchRowTest, TheWrongFieldIsNamed) {
  const std::string body = R"("body":{})";
  const std::pair<std::string, const char*> wrong[] = {
      {Line(body), "custom_id"},
      {Line(R"("custom_id":"",)" + body), "custom_id"},
      {Line(absl::StrCat(R"("custom_id":")", std::string(513, 'x'), R"(",)", body)), "custom_id"},
      {Line(R"("custom_id":"a","body":[])"), "body"},
      {Line(R"("custom_id":"a")"), "body"},
      {Line(R"("custom_id":"a","body":{"stream":true})"), "body.stream"},
      {Line(R"("custom_id":"a","other":1,)" + body), "other"},
      {R"({"custom_id":"a","method":"GET","url":"/v1/chat/completions","body":{}})", "method"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/score","body":{}})", "url"},
      {"[]", ""},
      {"{\"custom_id\": \"\xff\"}", ""},
  };
  for (const auto& [line, field] : wrong) {
    const auto row = ParseBatchRow(line, kChat);
    ASSERT_TRUE(absl::IsInvalidArgument(row.status())) << line;
    EXPECT_EQ(FieldOf(row.status()), field) << line;
  }
}

TEST(BatchRowTest, WhatWasAnsweredIsALineThatSaysOfWhat) {
  const std::string id = "with \"quotes\" and \xc3\xbc";
  const std::string answered = AnswerLine(id, "batch_1.2", 200, R"({"x":1})");
  EXPECT_THAT(answered,
              ::testing::HasSubstr(
                  R"("response":{"status_code":200,"request_id":"batch_1.2","body":{"x":1}})"));
  EXPECT_EQ(CustomIdOf(answered), id);
  const std::string failed = FailureLine(id, "batch_1.2", "batch_expired", "too late");
  EXPECT_THAT(failed,
              ::testing::HasSubstr(
                  R"("response":null,"error":{"code":"batch_expired","message":"too late"})"));
  EXPECT_EQ(CustomIdOf(failed), id);
}

TEST(BatchRowTest, AnythingElseIsNoSuchLine) {
  const std::string answered = AnswerLine("a", "r", 200, "{}");
  for (const std::string& line : {answered.substr(0, answered.size() - 1), std::string("[]"),
                                  std::string(R"({"custom_id":1})"), std::string("\0\0", 2)}) {
    EXPECT_EQ(CustomIdOf(line), std::nullopt) << line;
  }
}

}  // namespace
}  // namespace llava::api
