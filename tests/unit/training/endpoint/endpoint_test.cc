#include "training/endpoint/endpoint.h"

#include <cstdlib>
#include <map>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/scripted_server.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using test::Completion;
using test::HttpText;
using test::ScriptedServer;
using testing::HasSubstr;
using testing::Not;

// Without waits that a test would notice.
EndpointOptions Options(const ScriptedServer& server) {
  EndpointOptions options;
  options.base_url = server.url();
  options.model = "judge";
  options.max_in_flight = 3;
  options.max_attempts = 3;
  options.first_retry_seconds = options.longest_retry_seconds = 0.001;
  options.probe_seconds = 0.001;
  return options;
}

class EndpointTest : public ::testing::Test {
 protected:
  // Asks "0", "1", ...; answers by question.
  absl::Status Ask(EndpointOptions options, std::int64_t count, Ledger ledger = {}) {
    auto endpoint = Endpoint::Make(std::move(options), std::move(ledger), &clock_);
    if (!endpoint.ok()) return endpoint.status();
    const absl::Status status = (*endpoint)->Run(
        count,
        [](std::int64_t index) -> absl::StatusOr<ChatRequest> {
          return ChatRequest{.messages = {{"user", {}, std::to_string(index)}}, .max_tokens = 10};
        },
        [this](std::int64_t index, const absl::StatusOr<ChatReply>& reply) {
          EXPECT_FALSE(replies_.contains(index));
          replies_[index] = reply;
          return absl::OkStatus();
        },
        &stop_);
    stats_ = (*endpoint)->stats();
    return status;
  }

  const RealClock clock_;
  std::map<std::int64_t, absl::StatusOr<ChatReply>> replies_;
  EndpointStats stats_;
  std::atomic<bool> stop_ = false;
};

TEST_F(EndpointTest, EveryQuestionGetsItsAnswer) {
  ScriptedServer server([](std::size_t, const std::string& body) {
    const std::size_t begin = body.find("content\":\"") + 10;
    return Completion("to " + body.substr(begin, body.find('"', begin) - begin));
  });
  ASSERT_TRUE(Ask(Options(server), 25).ok());
  ASSERT_EQ(replies_.size(), 25u);
  EXPECT_EQ(replies_[3]->text, "to 3");
  EXPECT_EQ(replies_[24]->text, "to 24");
  EXPECT_EQ(stats_.sent, 25);
  EXPECT_EQ(stats_.spent.total(), 250);
}

TEST_F(EndpointTest, AHostileServiceIsAskedAgainUntilItAnswers) {
  ScriptedServer server([](std::size_t n, const std::string&) -> std::string {
    switch (n % 5) {
      case 0:
        return HttpText(429, "busy", "Retry-After: 0\r\n");
      case 1:
        return HttpText(200, "{\"choices\":[{\"mess");
      case 2:
        return "";
      case 3:
        return HttpText(200, "<html></html>");
      default:
        return Completion("fine");
    }
  });
  EndpointOptions options = Options(server);
  options.max_attempts = 30;
  ASSERT_TRUE(Ask(options, 20).ok());
  for (const auto& [index, reply] : replies_) EXPECT_EQ(reply->text, "fine") << index;
  EXPECT_EQ(replies_.size(), 20u);
  EXPECT_EQ(stats_.sent, 20 + stats_.retried);
}

TEST_F(EndpointTest, WhatIsRefusedOrNeverAnsweredFailsAlone) {
  ScriptedServer server([](std::size_t, const std::string& body) -> std::string {
    if (body.find("\"0\"") != body.npos)
      return HttpText(400, R"({"error":{"message":"too long"}})");
    if (body.find("\"1\"") != body.npos) return HttpText(200, "{}");
    return Completion("fine");
  });
  ASSERT_TRUE(Ask(Options(server), 4).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(replies_[0].status()));
  EXPECT_THAT(std::string(replies_[0].status().message()), HasSubstr("too long"));
  EXPECT_TRUE(absl::IsUnavailable(replies_[1].status()));
  EXPECT_THAT(std::string(replies_[1].status().message()), HasSubstr("3 attempts"));
  EXPECT_EQ(replies_[3]->text, "fine");
}

TEST_F(EndpointTest, NothingIsPaidTwice) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/ledger.jsonl";
  ScriptedServer server({Completion("fine")});
  ASSERT_TRUE(Ask(Options(server), 5, *Ledger::Open(path)).ok());
  replies_.clear();
  ASSERT_TRUE(Ask(Options(server), 7, *Ledger::Open(path)).ok());
  EXPECT_EQ(replies_.size(), 7u);
  EXPECT_EQ(stats_.cached, 5);
  EXPECT_EQ(stats_.sent, 2);
  EXPECT_EQ(server.bodies().size(), 7u);
  EXPECT_EQ(stats_.spent.total(), 70);
}

TEST_F(EndpointTest, EqualQuestionsAtTheSameTimeArePaidOnce) {
  ScriptedServer server([](std::size_t n, const std::string&) {
    return n == 0 ? HttpText(500, "{}") : Completion("fine");
  });
  auto endpoint = Endpoint::Make(Options(server), Ledger(), &clock_);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  int answered = 0;
  const absl::Status status = (*endpoint)->Run(
      9,
      [](std::int64_t index) -> absl::StatusOr<ChatRequest> {
        return ChatRequest{.messages = {{"user", {}, index == 7 ? "other" : "same"}}};
      },
      [&](std::int64_t, const absl::StatusOr<ChatReply>& reply) {
        answered += reply.ok() ? 1 : 0;
        return absl::OkStatus();
      },
      nullptr);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(answered, 9);
  EXPECT_EQ(server.bodies().size(), 3u);  // one of them twice
}

TEST_F(EndpointTest, AServiceThatIsNoneIsNotAskedForEach) {
  ScriptedServer server({HttpText(200, "<html>It works!</html>")});
  EndpointOptions options = Options(server);
  options.max_attempts = 8;
  options.probe_seconds = 0.05;
  options.give_up_seconds = 0.5;
  const absl::Status status = Ask(options, 1000);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("is no JSON: <html>It works!"));
  EXPECT_LT(server.bodies().size(), 60u);
}

TEST_F(EndpointTest, TheBudgetIsNeverExceeded) {
  ScriptedServer server({Completion("fine")});
  EndpointOptions options = Options(server);
  options.max_tokens_total = 100;  // an answer costs 10, its worst case is 27 or 28
  const absl::Status status = Ask(options, 50);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_LE(stats_.spent.total(), 100);
  EXPECT_EQ(stats_.spent.total(), 80);
}

TEST_F(EndpointTest, ABudgetOfNothingSendsNothing) {
  ScriptedServer server({Completion("fine")});
  EndpointOptions options = Options(server);
  options.max_tokens_total = 0;
  EXPECT_TRUE(absl::IsResourceExhausted(Ask(options, 5)));
  options = Options(server);
  options.output_price = 1;
  options.max_cost = 0;
  EXPECT_TRUE(absl::IsResourceExhausted(Ask(options, 5)));
  EXPECT_TRUE(server.bodies().empty());
}

TEST_F(EndpointTest, WhatARunPaysIsToldFromWhatAllHavePaid) {
  ScriptedServer server({Completion("fine")});  // 7 tokens, and 3 of the answer
  EndpointOptions options = Options(server);
  options.output_price = 1e6;
  const test::TempDir dir;
  const std::string path = dir.path() + "/ledger.jsonl";
  ASSERT_TRUE(Ask(options, 2, *Ledger::Open(path)).ok());
  EXPECT_DOUBLE_EQ(stats_.cost, 6);
  EXPECT_DOUBLE_EQ(stats_.cost_of_run, 6);
  replies_.clear();
  options.output_price = 2e6;  // what was paid stays what it was
  ASSERT_TRUE(Ask(options, 3, *Ledger::Open(path)).ok());
  EXPECT_DOUBLE_EQ(stats_.cost, 12);
  EXPECT_DOUBLE_EQ(stats_.cost_of_run, 6);
}

TEST_F(EndpointTest, AnAnswerThatIsNoneCostsTheMostItCanHave) {
  ScriptedServer server({HttpText(200, "{}")});
  EndpointOptions options = Options(server);
  options.max_attempts = 2;
  ASSERT_TRUE(Ask(options, 1).ok());
  EXPECT_EQ(stats_.spent.total(), 2 * (16 + 1 + 10));
}

TEST_F(EndpointTest, AWrongKeyEndsTheRunAndStandsNowhere) {
  ScriptedServer server(
      {HttpText(401, R"({"error":{"message":"Incorrect API key provided: sk-secret."}})")});
  setenv("LLAVA_TEST_KEY", "sk-secret", 1);
  EndpointOptions options = Options(server);
  options.api_key_env = "LLAVA_TEST_KEY";
  const absl::Status status = Ask(options, 50);
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("Incorrect API key provided: [key]."));
  EXPECT_EQ(server.authorization(), "Bearer sk-secret");
  EXPECT_LE(server.bodies().size(), 3u);
}

TEST_F(EndpointTest, AServiceThatSaysTheKeyIsNotTakenAtItsWord) {
  ScriptedServer server({Completion("You sent Bearer sk-secret to me.")});
  setenv("LLAVA_TEST_KEY", "sk-secret", 1);
  EndpointOptions options = Options(server);
  options.api_key_env = "LLAVA_TEST_KEY";
  const test::TempDir dir;
  const std::string path = dir.path() + "/ledger.jsonl";
  ASSERT_TRUE(Ask(options, 1, *Ledger::Open(path)).ok());
  EXPECT_EQ(replies_[0]->text, "You sent Bearer [key] to me.");
  EXPECT_THAT(*ReadFile(path, 1 << 20), Not(HasSubstr("sk-secret")));
  setenv("LLAVA_TEST_KEY", "sent", 1);  // a word that protects nothing
  replies_.clear();
  ASSERT_TRUE(Ask(options, 1).ok());
  EXPECT_EQ(replies_[0]->text, "You sent Bearer sk-secret to me.");
}

TEST_F(EndpointTest, AServiceThatIsDownIsGivenUp) {
  ScriptedServer server({std::string()});
  EndpointOptions options = Options(server);
  options.max_attempts = 1000;
  options.give_up_seconds = 0.2;
  const absl::Status status = Ask(options, 2);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("given up"));
}

TEST_F(EndpointTest, AServiceThatAsksForMoreThanThereIsIsGivenUpAtOnce) {
  ScriptedServer server({HttpText(429, "tomorrow", "Retry-After: 86400\r\n")});
  const absl::Status status = Ask(Options(server), 1);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("or asks to wait longer"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("tomorrow"));
}

TEST_F(EndpointTest, StopsWhenItIsTold) {
  ScriptedServer server({HttpText(429, "busy")});
  stop_ = true;
  EXPECT_TRUE(absl::IsCancelled(Ask(Options(server), 2)));
}

}  // namespace
}  // namespace llava::training
