#include "training/generate/generate_plan.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/generate_plan_files.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

absl::StatusOr<GeneratePlan> Read(const std::string& more, const std::string& url = "http://h/v1") {
  test::BenchFolder folder;
  test::AddPlan(&folder, 1, url, more);
  return ReadGeneratePlan(folder.path() + "/plan.yaml");
}

TEST(GeneratePlanTest, PathsAreSeenFromThePlan) {
  test::BenchFolder folder;
  test::AddPlan(&folder, 1, "http://h/v1",
                "accept: {min_turns: 2}\nbudget: {max_tokens_total: 9}\n");
  const auto plan = ReadGeneratePlan(folder.path() + "/plan.yaml");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->output, folder.path() + "/gen");
  EXPECT_EQ(plan->kinds[1].few_shot, folder.path() + "/prompts/detail");
  EXPECT_FALSE(plan->kinds[0].boxes);
  EXPECT_TRUE(plan->kinds[1].boxes);
  EXPECT_EQ(plan->accept.min_turns, 2);
  EXPECT_EQ(plan->endpoint.max_tokens_total, 9);
}

TEST(GeneratePlanTest, MistakesHaveALine) {
  for (const auto& [more, what] : {std::pair("acept: {}\n", "acept"),
                                   {"held_out: 1.5\n", "held_out"},
                                   {"accept: {near_duplicate: 0.1}\n", "near_duplicate"}}) {
    const absl::Status status = Read(more).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << more;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
    EXPECT_THAT(std::string(status.message()), HasSubstr("plan.yaml:"));
  }
}

TEST(GeneratePlanTest, ItsIdentityIsWhatDecidesTheData) {
  GeneratePlan plan;
  plan.endpoint.model = "m";
  const std::string identity = PlanIdentity(plan);
  plan.endpoint.max_in_flight = 99;
  plan.endpoint.max_cost = 5;
  plan.endpoint.base_url = "http://other/v1";
  EXPECT_EQ(PlanIdentity(plan), identity);
  plan.accept.min_turns = 7;
  EXPECT_NE(PlanIdentity(plan), identity);
}

}  // namespace
}  // namespace llava::training
