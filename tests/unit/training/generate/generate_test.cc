#include "training/generate/generate.h"

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/generate_plan_files.h"
#include "tests/support/scripted_server.h"

namespace llava::training {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

class GenerateTest : public ::testing::Test {
 protected:
  absl::StatusOr<GenerateReport> Run(int pictures, const test::ScriptedServer& server,
                                     const std::string& more = "") {
    test::AddPlan(&folder_, pictures, server.url(), more);
    const auto plan = ReadGeneratePlan(folder_.path() + "/plan.yaml");
    if (!plan.ok()) return plan.status();
    return Generate(*plan, clock_, [](const std::string&) {}, nullptr, &ended_);
  }

  std::string Written(const std::string& name) {
    const auto bytes = ReadFile(folder_.path() + "/gen/" + name, 1 << 24);
    return bytes.ok() ? *bytes : std::string(bytes.status().message());
  }

  const RealClock clock_;
  test::BenchFolder folder_;
  absl::Status ended_;
};

// Says something of its own about each picture.
std::string Talk(const std::string& body) {
  const std::size_t last = body.rfind("Number ");
  const std::string number = body.substr(last, body.find('.', last) - last);
  std::string words;
  for (int i = 0; i < 30; ++i) words += " w" + std::to_string(i) + number.substr(7);
  return body.find("Make a detail") != body.npos
             ? "This is the detail of" + words
             : "Question:\\nWhat is it?\\n===\\nAnswer:\\nIt is the thing" + words + ".";
}

TEST_F(GenerateTest, MakesRowsOnceAndTheSameAgain) {
  test::ScriptedServer server(
      [](std::size_t, const std::string& body) { return test::Completion(Talk(body)); });
  const auto report = Run(10, server, "held_out: 0.3\n");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(ended_.ok()) << ended_;
  EXPECT_THAT(report->accepted, ElementsAre(Pair("conversation", 10), Pair("detail", 10)));
  EXPECT_TRUE(report->rejected.empty());
  EXPECT_GT(report->held_out, 0);
  EXPECT_LT(report->held_out, 20);
  const std::string rows = Written("instruct.jsonl");
  const std::string held = Written("held_out.jsonl");
  EXPECT_EQ(std::count(rows.begin(), rows.end(), '\n') + std::count(held.begin(), held.end(), '\n'),
            20);
  EXPECT_THAT(Written("report.json"), HasSubstr(R"("accepted":{"conversation":10,"detail":10})"));
  ASSERT_TRUE(Run(10, server, "held_out: 0.3\n").ok());
  EXPECT_EQ(server.bodies().size(), 20u);  // nothing is asked again
  EXPECT_EQ(Written("instruct.jsonl"), rows);
  EXPECT_TRUE(absl::IsFailedPrecondition(Run(10, server, "held_out: 0.4\n").status()));
}

TEST_F(GenerateTest, WhatIsRejectedIsAskedOnceMore) {
  test::ScriptedServer server([](std::size_t, const std::string& body) {
    const bool second = body.find("\"seed\":43") != body.npos;
    const bool bad = body.rfind("Number 1.") != body.npos;
    if (bad) return test::Completion(second ? "The caption says so." : "");
    return test::Completion(body.rfind("Number 0.") != body.npos && !second ? "I'm sorry."
                                                                            : Talk(body));
  });
  const auto report = Run(3, server);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->accepted.at("detail"), 2);
  EXPECT_EQ(report->accepted.at("conversation"), 2);
  EXPECT_THAT(report->rejected, ElementsAre(Pair("mentions_source", 1), Pair("no_question", 1)));
  EXPECT_THAT(report->first_tries,
              ElementsAre(Pair("no_question", 2), Pair("refusal", 1), Pair("too_short", 1)));
  EXPECT_THAT(Written("rejects.jsonl"),
              HasSubstr(R"("id":"1","kind":"detail","reason":"mentions)"));
  EXPECT_THAT(Written("instruct.jsonl"), HasSubstr(R"("attempt":2)"));
}

TEST_F(GenerateTest, TheSameAgainAndAgainIsADuplicate) {
  test::ScriptedServer server(
      {test::Completion("Question:\\nWhat is it?\\n===\\nAnswer:\\nIt is a dog.")});
  const auto report = Run(4, server);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->accepted.at("conversation"), 1);
  EXPECT_EQ(report->accepted.at("detail"), 1);
  EXPECT_EQ(report->rejected.at("duplicate"), 6);
}

TEST_F(GenerateTest, ASpentBudgetKeepsWhatIsThere) {
  test::ScriptedServer server(
      [](std::size_t, const std::string& body) { return test::Completion(Talk(body)); });
  const auto report = Run(10, server, "budget: {max_tokens_total: 1200}\n");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(absl::IsResourceExhausted(ended_)) << ended_;
  EXPECT_GT(report->unanswered, 0);
  EXPECT_LE(report->spent.total(), 1200);
  EXPECT_GT(report->accepted.size(), 0u);
}

TEST_F(GenerateTest, WhereNothingIsAnsweredTheRunHasFailed) {
  test::ScriptedServer server({test::HttpText(400, R"({"error":{"message":"no seed, please"}})")});
  const auto report = Run(3, server);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->unanswered, 6);
  EXPECT_TRUE(absl::IsUnavailable(ended_)) << ended_;
  EXPECT_THAT(std::string(ended_.message()), HasSubstr("no seed, please"));
}

TEST_F(GenerateTest, ADryRunAsksNothing) {
  test::AddPlan(&folder_, 5, "http://192.0.2.1/v1");
  GeneratePlan plan = *ReadGeneratePlan(folder_.path() + "/plan.yaml");
  plan.endpoint.output_price = 1000;  // 10 answers of 1024 tokens, and once more
  EXPECT_THAT(*DryRun(plan), HasSubstr(" about 10.24 of money; at most 20.48, were"));
  plan.endpoint.max_cost = 0;
  plan.endpoint.max_tokens_total = 70;
  EXPECT_THAT(*DryRun(plan), HasSubstr("the budget ends it at 0 of money or 70 tokens\n"));
  plan.endpoint.max_cost = 0.004;
  EXPECT_THAT(*DryRun(plan), HasSubstr("the budget ends it at 0.004 of money or 70 tokens\n"));
  const auto text = DryRun(*ReadGeneratePlan(folder_.path() + "/plan.yaml"));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("[system]\nMake a conversation.\n[user]\nA tie.\n[assistant]\nA "
                               "question.\n[user]\nNumber 0.\n"));
  EXPECT_THAT(*text, HasSubstr("10 requests about 5 pictures"));
  EXPECT_THAT(*text, HasSubstr(" about 0.00 of money; at most 0.00, were each asked twice\n"));
  const std::string prompts = Written("prompts.jsonl");
  EXPECT_EQ(std::count(prompts.begin(), prompts.end(), '\n'), 10);
  EXPECT_THAT(prompts, HasSubstr(R"({"id":"0","kind":"detail","messages":[{"role":"system")"));
}

}  // namespace
}  // namespace llava::training
