#include "training/endpoint/chat_reply.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kNow = 1445412480;  // Wed, 21 Oct 2015 07:28:00 GMT

Attempt Read(const std::string& body, int status = 200, const std::string& model = "gpt-4") {
  HttpAnswer answer;
  answer.status = status;
  answer.body = body;
  const std::vector<std::string> written;
  return ReadAnswer(answer, {model, /*any_model=*/false, /*prompt_bytes=*/30, written}, kNow);
}

Attempt Read(const HttpAnswer& answer, const std::string& model, bool any_model) {
  return ReadAnswer(answer, {model, any_model, 0, {}}, kNow);
}

std::string Body(const std::string& message, const std::string& rest = "") {
  return R"({"choices":[{"finish_reason":"stop","message":)" + message + "}]" + rest + "}";
}

TEST(ChatReply, ReadsACompletion) {
  const Attempt attempt =
      Read(Body(R"({"content":"8 9\nBoth."})",
                R"(,"model":"gpt-4-0613","usage":{"prompt_tokens":12,"completion_tokens":4})"));
  EXPECT_EQ(attempt.verdict, Verdict::kGood);
  EXPECT_EQ(attempt.reply.text, "8 9\nBoth.");
  EXPECT_EQ(attempt.reply.finish_reason, "stop");
  EXPECT_EQ(attempt.reply.model, "gpt-4-0613");
  EXPECT_EQ(attempt.reply.prompt_tokens, 12);
  EXPECT_EQ(attempt.reply.completion_tokens, 4);
  EXPECT_FALSE(attempt.reply.estimated);
}

TEST(ChatReply, TheLikeliestOfTheGivenAnswersIsTheText) {
  const std::string model = "llava";
  const std::vector<std::string> choices = {"A", "B"};
  const auto read = [&](const std::string& body) {
    HttpAnswer answer;
    answer.status = 200;
    answer.body = body;
    return ReadAnswer(answer, {model, false, 0, choices}, kNow);
  };
  const Attempt attempt = read(
      R"({"object":"score","model":"llava","choices":[{"index":0,"logprob":-3.0},)"
      R"({"index":1,"logprob":-0.5}],"best":1,"usage":{"prompt_tokens":9,"completion_tokens":2}})");
  EXPECT_EQ(attempt.verdict, Verdict::kGood) << attempt.message;
  EXPECT_EQ(attempt.reply.text, "B");
  EXPECT_EQ(attempt.reply.prompt_tokens, 9);
  for (const char* wrong : {R"({"best":2})", R"({"best":-1})", R"({"best":"A"})", "{}",
                            R"({"choices":[{"message":{"content":"B"}}]})"}) {
    EXPECT_EQ(read(wrong).verdict, Verdict::kMalformed) << wrong;
  }
}

TEST(ChatReply, TokensThatNobodyCountedAreEstimated) {
  const Attempt attempt = Read(Body(R"({"content":"twelve bytes"})"));
  EXPECT_EQ(attempt.verdict, Verdict::kGood);
  EXPECT_TRUE(attempt.reply.estimated);
  EXPECT_EQ(attempt.reply.prompt_tokens, 11);
  EXPECT_EQ(attempt.reply.completion_tokens, 5);
}

// The ledger reads every line again that it has written, and adds up its tokens.
TEST(ChatReply, CountsThatNobodyBelievesAreEstimated) {
  for (const char* count : {"-1", "1e18", "9223372036854775807", "1000000001", "\"7\"", "1.5"}) {
    const Attempt attempt =
        Read(Body(R"({"content":"twelve bytes"})",
                  absl::StrCat(R"(,"usage":{"prompt_tokens":3,"completion_tokens":)", count, "}")));
    EXPECT_EQ(attempt.verdict, Verdict::kGood) << count;
    EXPECT_TRUE(attempt.reply.estimated) << count;
    EXPECT_EQ(attempt.reply.completion_tokens, 5) << count;
  }
}

TEST(ChatReply, WhatIsNoAnswerMayHaveCost) {
  for (const std::string& body :
       {std::string("{}"), std::string("[]"), std::string(R"({"choices":[]})"),
        std::string(R"({"choices":[1]})"), Body(R"({"content":null})"), Body("{}"),
        Body(R"({"content":"a\u0000b"})")}) {
    const Attempt attempt = Read(body);
    EXPECT_EQ(attempt.verdict, Verdict::kMalformed) << body;
    EXPECT_TRUE(attempt.paid) << body;
    EXPECT_FALSE(attempt.message.empty()) << body;
  }
}

// So many of these in a row are a service that is down, or none.
TEST(ChatReply, WhatNoSuchServiceSendsIsItsOwnFault) {
  for (const std::string& body :
       {std::string("<html>502</html>"), std::string(R"({"choices":[{"mess)"), std::string(),
        Body("{\"content\":\"\xff\"}"), Body(R"({"content":"x"})", R"(,"model":"gpt-3.5")")}) {
    const Attempt attempt = Read(body);
    EXPECT_EQ(attempt.verdict, Verdict::kUnwell) << body;
    EXPECT_TRUE(attempt.paid) << body;
    EXPECT_FALSE(attempt.message.empty()) << body;
  }
  HttpAnswer packed{.status = 200, .content_encoding = "gzip", .body = Body(R"({"content":"x"})")};
  EXPECT_EQ(Read(packed, "gpt-4", true).verdict, Verdict::kUnwell);
}

TEST(ChatReply, AnyModelIsTakenWhereThatIsAllowed) {
  HttpAnswer other{.status = 200, .body = Body(R"({"content":"x"})", R"(,"model":"llava")")};
  EXPECT_EQ(Read(other, "gpt-4", true).verdict, Verdict::kGood);
  EXPECT_EQ(Read(Body(R"({"content":"x"})", R"(,"model":"gpt-40")")).verdict,
            Verdict::kUnwell);  // another model, not a version of this
}

TEST(ChatReply, StatusesSayWhatToDo) {
  const std::string body = R"({"error":{"message":"No such model."}})";
  for (const int status : {429, 503}) EXPECT_EQ(Read(body, status).verdict, Verdict::kThrottled);
  for (const int status : {500, 502, 504, 408, 409, 425}) {
    EXPECT_EQ(Read(body, status).verdict, Verdict::kUnwell) << status;
  }
  for (const int status : {400, 413, 422}) {
    EXPECT_EQ(Read(body, status).verdict, Verdict::kRefused) << status;
  }
  for (const int status : {401, 403, 404, 302}) {
    EXPECT_EQ(Read(body, status).verdict, Verdict::kHopeless) << status;
  }
  EXPECT_EQ(Read(body, 404).message, "No such model.");
  EXPECT_EQ(Read(R"({"error":"plain"})", 400).message, "plain");
  EXPECT_EQ(Read("<html>no</html>", 500).message, "<html>no</html>");
  EXPECT_FALSE(Read(body, 429).paid);
  const HttpAnswer moved{.status = 301, .location = "http://elsewhere/"};
  EXPECT_THAT(Read(moved, "m", false).message, HasSubstr("http://elsewhere/"));
}

TEST(ChatReply, WaitsAreSecondsOrDates) {
  EXPECT_EQ(ParseRetryAfter("12", kNow), std::chrono::seconds(12));
  EXPECT_EQ(ParseRetryAfter("0.5", kNow), std::chrono::milliseconds(500));
  EXPECT_EQ(ParseRetryAfter("Wed, 21 Oct 2015 07:28:30 GMT", kNow), std::chrono::seconds(30));
  EXPECT_EQ(ParseRetryAfter("Wed, 21 Oct 2015 07:27:00 GMT", kNow), std::chrono::seconds(0));
  for (const char* wrong : {"", "-1", "soon", "nan", "inf"}) {
    EXPECT_EQ(ParseRetryAfter(wrong, kNow), std::nullopt) << wrong;
  }
  EXPECT_LT(*ParseRetryAfter("1e300", kNow), std::chrono::hours(24 * 400));
  EXPECT_EQ(ParseReset("6m0s"), std::chrono::minutes(6));
  EXPECT_EQ(ParseReset("250ms"), std::chrono::milliseconds(250));
  EXPECT_EQ(ParseReset("-1s"), std::nullopt);
  EXPECT_EQ(ParseReset(""), std::nullopt);
  const HttpAnswer limited{.status = 429, .rate_limit_reset = "2s"};
  EXPECT_EQ(Read(limited, "m", false).retry_after, std::chrono::seconds(2));
}

// Of the forms of absl's times, which reads these words in the place of any date.
TEST(ChatReply, NobodyWaitsForEver) {
  for (const char* date : {"infinite-past", "infinite-future"}) {
    EXPECT_FALSE(ParseRetryAfter(date, kNow).has_value()) << date;
  }
}

TEST(ChatReply, PeopleSeeNoKeyAndNoControlCharacters) {
  EXPECT_EQ(ForPeople("key sk-1 is bad\x1b[2J\n", "sk-1"), "key [key] is bad [2J ");
  EXPECT_LE(ForPeople(std::string(5000, 'x'), "").size(), 303u);
}

}  // namespace
}  // namespace llava::training
