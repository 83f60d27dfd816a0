#include "server/api/http/chat_route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "tests/unit/server/api/http/route_fixture.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kChat[] = "/v1/chat/completions";

class ChatRouteTest : public RouteFixture {
 protected:
  ChatRouteTest() : fetcher_({}, &clock_) {
    AddChatRoute(&runner_, &fetcher_, "build7", &router_);
    Start();
  }

  // A question of five tokens' answer, with these further fields.
  static std::string Question(const std::string& fields = "", const std::string& text = "Hello") {
    return R"({"messages":[{"role":"user","content":")" + text +
           R"("}],"max_completion_tokens":5,"ignore_eos":true)" + fields + "}";
  }
  static std::string TextOf(const json::object& answer) {
    return std::string(answer.at("choices").at(0).at("message").at("content").as_string());
  }
  // The data of a stream's events.
  static std::vector<std::string> Events(const Reply& reply) {
    std::vector<std::string> events;
    for (const auto event : absl::StrSplit(reply.body(), "\n\n", absl::SkipEmpty())) {
      EXPECT_THAT(std::string(event), StartsWith("data: "));
      events.emplace_back(event.substr(6));
    }
    return events;
  }

  ImageFetcher fetcher_;
};

TEST_F(ChatRouteTest, AnAnswerComesAsAWhole) {
  const Reply reply = Post(kChat, Question());
  ASSERT_EQ(reply.result_int(), 200u) << reply.body();
  EXPECT_EQ(reply["X-Model-Version"], kVersion.Hex());
  const json::object answer = Json(reply);
  EXPECT_EQ(answer.at("id").as_string(), "chatcmpl-mine");
  EXPECT_EQ(answer.at("object").as_string(), "chat.completion");
  EXPECT_EQ(answer.at("model").as_string(), "llava");
  EXPECT_THAT(std::string(answer.at("system_fingerprint").as_string()),
              AllOf(StartsWith(kVersion.Hex()), HasSubstr("build7")));
  EXPECT_EQ(answer.at("choices").as_array().size(), 1u);
  EXPECT_EQ(answer.at("choices").at(0).at("finish_reason").as_string(), "length");
  EXPECT_EQ(answer.at("usage").at("completion_tokens").to_number<int>(), 5);
  EXPECT_FALSE(TextOf(answer).empty());
  EXPECT_EQ(TextOf(Json(Post(kChat, Question()))), TextOf(answer));  // greedy
}

TEST_F(ChatRouteTest, EachOfSeveralAnswersIsThere) {
  const json::object answer = Json(Post(kChat, Question(R"(,"n":3)")));
  const json::array& choices = answer.at("choices").as_array();
  ASSERT_EQ(choices.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(choices[static_cast<std::size_t>(i)].at("index").to_number<int>(), i);
  }
  EXPECT_EQ(answer.at("usage").at("completion_tokens").to_number<int>(), 15);
}

TEST_F(ChatRouteTest, AStreamSaysTheSameInPieces) {
  const std::string whole = TextOf(Json(Post(kChat, Question())));
  const Reply reply =
      Post(kChat, Question(R"(,"stream":true,"stream_options":{"include_usage":true})"));
  ASSERT_EQ(reply.result_int(), 200u) << reply.body();
  EXPECT_THAT(std::string(reply[http::field::content_type]), StartsWith("text/event-stream"));
  EXPECT_EQ(reply["X-Model-Version"], kVersion.Hex());
  std::vector<std::string> events = Events(reply);
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events.back(), "[DONE]");
  events.pop_back();
  const json::object last = json::parse(events.back()).as_object();
  EXPECT_EQ(last.at("usage").at("completion_tokens").to_number<int>(), 5);
  EXPECT_TRUE(last.at("choices").as_array().empty());
  events.pop_back();
  std::string text, reason;
  for (const std::string& event : events) {
    const json::object chunk = json::parse(event).as_object();
    EXPECT_EQ(chunk.at("id").as_string(), "chatcmpl-mine");
    EXPECT_EQ(chunk.at("object").as_string(), "chat.completion.chunk");
    const json::object& choice = chunk.at("choices").at(0).as_object();
    const json::object& delta = choice.at("delta").as_object();
    EXPECT_EQ(delta.contains("role"), &event == &events.front());  // once
    if (const json::value* piece = delta.if_contains("content"); piece && piece->is_string()) {
      text += piece->as_string();
    }
    if (choice.at("finish_reason").is_string()) {
      reason = std::string(choice.at("finish_reason").as_string());
    }
  }
  EXPECT_EQ(text, whole);
  EXPECT_EQ(reason, "length");
}

TEST_F(ChatRouteTest, UsageOfAStreamIsSaidOnlyToWhoAsksForIt) {
  const Reply reply = Post(kChat, Question(R"(,"stream":true)"));
  EXPECT_THAT(reply.body(), ::testing::Not(HasSubstr("\"usage\":{")));
  EXPECT_THAT(reply.body(), EndsWith("data: [DONE]\n\n"));
}

TEST_F(ChatRouteTest, WhatIsWrongIsNamedByItsFieldOfAStreamToo) {
  EXPECT_EQ(WrongField(Post(kChat, Question(R"(,"top_p":2)"))), "top_p");
  EXPECT_EQ(WrongField(Post(kChat, Question(R"(,"top_p":2,"stream":true)"))), "top_p");
  EXPECT_EQ(WrongField(Post(kChat, Question(R"(,"nonsense":2)"))), "nonsense");
  EXPECT_EQ(WrongField(Post(kChat, "{}")), "messages");
  const Reply other = Post(kChat, Question(R"(,"model":"other","stream":true)"));
  EXPECT_EQ(other.result_int(), 404u);
  EXPECT_TRUE(Json(other).contains("error"));
}

// A body that is read in a prepare thread is answered, and refused, as a small one.
TEST_F(ChatRouteTest, LargeBodiesAreAnsweredAsSmallOnes) {
  const std::string room(std::size_t{70} << 10, ' ');
  const std::string whole = TextOf(Json(Post(kChat, Question())));
  EXPECT_EQ(TextOf(Json(Post(kChat, Question(room)))), whole);
  EXPECT_EQ(WrongField(Post(kChat, Question(R"(,"top_p":2)" + room))), "top_p");
  EXPECT_EQ(Post(kChat, Question(R"(,"model":"other")" + room)).result_int(), 404u);
}

// No server may be asked for pictures here.
TEST_F(ChatRouteTest, PicturesElsewhereAreRefusedByTheFieldThatNamesThem) {
  const std::string body = R"({"messages":[{"role":"user","content":[{"type":"image_url",)"
                           R"("image_url":{"url":"http://127.0.0.1:1/a.png"}}]}]})";
  EXPECT_EQ(WrongField(Post(kChat, body)), "messages[0].content[0].image_url.url");
}

TEST_F(ChatRouteTest, OnlyTokensForChatMayAsk) {
  for (const char* path : {kChat, "/v1/score"}) {
    EXPECT_EQ(Send(http::verb::post, path, Question(), "").result_int(), 401u) << path;
    EXPECT_EQ(Send(http::verb::post, path, Question(), "r").result_int(), 403u) << path;
  }
}

TEST_F(ChatRouteTest, WhileDrainingNothingIsAnswered) {
  runner_.Drain();
  EXPECT_EQ(Post(kChat, Question()).result_int(), 503u);
  EXPECT_EQ(Post(kChat, Question(R"(,"stream":true)")).result_int(), 503u);
}

}  // namespace
}  // namespace llava::api
