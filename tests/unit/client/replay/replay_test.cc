#include "client/replay/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <string>

#include "absl/strings/str_cat.h"

namespace llava::client {
namespace {

namespace json = boost::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json::object Parse(const std::string& text) { return json::parse(text).as_object(); }

json::object Response(const std::string& tokens, const std::string& text = "a",
                      const std::string& fingerprint = "12ab-c0de-int8") {
  return Parse(absl::StrCat(R"({"object":"chat.completion","model":"m","system_fingerprint":")",
                            fingerprint, R"(","choices":[{"index":0,"message":{"content":")", text,
                            R"("},"finish_reason":"stop")",
                            tokens.empty() ? "" : R"(,"token_ids":)", tokens, "}]}"));
}

Recorded ARecord(const std::string& request) {
  return ReadRecorded(Parse(request), Response("[1,2]")).value();
}

TEST(ReplayTest, AsksTheVersionThatAnsweredForTokens) {
  const auto again =
      RequestToReplay(ARecord(R"({"messages":[],"stream":true,"stream_options":{},"n":2})"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(json::serialize(*again),
            R"({"messages":[],"n":2,"model":"m@12ab","return_token_ids":true})");
}

TEST(ReplayTest, WithoutItsSeedASampledAnswerDoesNotComeBack) {
  const auto again = RequestToReplay(ARecord(R"({"messages":[],"temperature":0.5})"));
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("temperature 5E-1 and no seed"));
  EXPECT_TRUE(RequestToReplay(ARecord(R"({"messages":[],"temperature":0.5,"seed":1})")).ok());
  EXPECT_TRUE(RequestToReplay(ARecord(R"({"messages":[],"temperature":0})")).ok());
}

TEST(ReplayTest, LinesOfABatchHaveTheirBodiesInside) {
  json::object line = {{"custom_id", "a"},
                       {"response", {{"status_code", 200}, {"body", Response("[1]")}}}};
  const auto read = ReadRecorded(Parse(R"({"custom_id":"a","body":{"messages":[]}})"), line);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->response.at("model"), json::value("m"));
  EXPECT_TRUE(read->request.contains("messages"));
}

TEST(ReplayTest, WhatIsNoneIsSaid) {
  const auto no_request = ReadRecorded(Parse("{}"), Response("[1]"));
  EXPECT_THAT(std::string(no_request.status().message()), HasSubstr("the request has no messages"));
  for (const char* response : {"{}", R"({"object":"chat.completion","choices":[]})",
                               R"({"object":"chat.completion","choices":[1]})"}) {
    const auto read = ReadRecorded(Parse(R"({"messages":[]})"), Parse(response));
    EXPECT_THAT(std::string(read.status().message()), HasSubstr("no whole chat completion"));
  }
  const auto nameless = ReadRecorded(Parse(R"({"messages":[]})"), Response("[1]", "a", "")).value();
  EXPECT_THAT(std::string(RequestToReplay(nameless).status().message()),
              HasSubstr("does not say what made it"));
}

TEST(ReplayTest, TokensAreCompared) {
  const Replay same = CompareReplay(Response("[1,2]"), Response("[1,2]")).value();
  EXPECT_TRUE(same.is_same);
  EXPECT_TRUE(same.has_tokens);
  EXPECT_THAT(same.causes, IsEmpty());
  const Replay other = CompareReplay(Response("[1,2]"), Response("[1,3]")).value();
  EXPECT_FALSE(other.is_same);
  EXPECT_EQ(other.difference, "answer 1: token 2 was 2 and is 3");
  EXPECT_EQ(CompareReplay(Response("[1,2]"), Response("[1]"))->difference,
            "answer 1: token 2 was 2 and is nothing");
}

TEST(ReplayTest, WithoutTokensTextsAre) {
  const Replay same = CompareReplay(Response("", "a"), Response("[1]", "a")).value();
  EXPECT_TRUE(same.is_same);
  EXPECT_FALSE(same.has_tokens);
  EXPECT_EQ(CompareReplay(Response("", "a"), Response("[1]", "b"))->difference,
            R"(answer 1: content was "a" and is "b")");
}

TEST(ReplayTest, WhatIsNotAsItWasIsNamed) {
  const Replay replay =
      CompareReplay(Response("[1]"), Response("[2]", "a", "12ab-beef-float32")).value();
  EXPECT_THAT(replay.causes, ElementsAre("the build was 'c0de' and is 'beef'",
                                         "the number format was 'int8' and is 'float32'"));
}

}  // namespace
}  // namespace llava::client
