#include "server/hosting/serving_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/checkpoint_fixture.h"
#include "tests/support/fake_backend.h"

namespace llava::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kGiB = 1 << 30;

// The golden checkpoint, whose context is 512 tokens, as if it were as large as LLaVA-1.5-7B.
class ServingPlanTest : public ::testing::Test {
 protected:
  ServingPlanTest() {
    backend_.memory = 13 * kGiB;
    backend_.block_bytes = 8 << 20;
  }

  std::vector<PlannedService> Plan(const std::vector<std::int64_t>& gpus) {
    const auto plan = PlanServices(Config(), model::GoldenCheckpointDir(), backend_, gpus);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *plan;
  }

  testing::FakeBackend backend_;
};

TEST_F(ServingPlanTest, EveryFormatOnTheCpusAndEveryGpu) {
  backend_.memory = 0;
  const std::vector<PlannedService> plan = Plan({24 * kGiB, 80 * kGiB});
  ASSERT_GE(plan.size(), 3u);
  EXPECT_EQ(plan[0].device, "cpu");
  EXPECT_EQ(plan[0].weights_format, "auto");
  EXPECT_EQ(plan[0].kv_cache_format, "auto");
  EXPECT_EQ(plan[1].weights_format, "auto");
  EXPECT_EQ(plan[1].kv_cache_format, "int8");
  EXPECT_EQ(plan[2].kv_cache_format, "auto");  // fp8 is for GPUs
  EXPECT_GT(plan[0].memory, 0);
  std::vector<std::string> gpus;
  for (const PlannedService& one : plan) {
    if (one.device == "cuda") gpus.push_back(one.weights_format + " " + one.kv_cache_format);
  }
  EXPECT_THAT(gpus,
              ElementsAre("auto auto", "auto fp8", "int8 auto", "int8 fp8", "fp8 auto", "fp8 fp8",
                          "auto auto", "auto fp8", "int8 auto", "int8 fp8", "fp8 auto", "fp8 fp8"));
  EXPECT_EQ(plan[plan.size() - 7].memory, 24 * kGiB);
  EXPECT_EQ(plan.back().device, "cuda");
  EXPECT_EQ(plan.back().memory, 80 * kGiB);
}

TEST_F(ServingPlanTest, TokensAndConversationsAreThoseOfTheKvCache) {
  const PlannedService plan = Plan({80 * kGiB}).back();
  EXPECT_TRUE(plan.defaults.second_version_fits);
  EXPECT_EQ(plan.tokens, plan.defaults.kv_cache_bytes / (8 << 20) * 16);
  EXPECT_EQ(plan.conversations, plan.tokens / 512);
}

TEST_F(ServingPlanTest, WeightsThatAreTooMuchDoNotFit) {
  backend_.most_ranks = 1;
  const PlannedService plan = Plan({12 * kGiB}).back();
  EXPECT_EQ(plan.conversations, 0);
  EXPECT_THAT(ServingPlanText({&plan, 1}, 512), HasSubstr("does not fit"));
}

// On as few as it fits on, each of which has its part of weights and KV cache.
TEST_F(ServingPlanTest, WhatIsTooMuchForOneGpuIsPlannedForSeveral) {
  std::vector<PlannedService> plan = Plan({12 * kGiB, 4 * kGiB, 2 * kGiB, 80 * kGiB});
  std::erase_if(plan, [](const PlannedService& one) {
    return one.weights_format != "auto" || one.kv_cache_format != "auto";
  });
  std::vector<std::string> devices;
  for (const PlannedService& one : plan) {
    if (one.device != "cpu") devices.push_back(one.device);
  }
  EXPECT_THAT(devices,
              ElementsAre("cuda", "cuda+cuda", "cuda", "cuda+cuda+cuda+cuda", "cuda", "cuda"));
  const PlannedService& two = plan[plan.size() - 5];
  EXPECT_EQ(two.memory, 12 * kGiB);
  EXPECT_EQ(two.weights, 13 * kGiB / 2);
  EXPECT_EQ(two.tokens, two.defaults.kv_cache_bytes / (4 << 20) * 16);
  EXPECT_GT(two.conversations, 0);
  EXPECT_THAT(ServingPlanText({&two, 1}, 512), HasSubstr("\n2 cuda "));
}

TEST_F(ServingPlanTest, TheTableHasALineEach) {
  backend_.memory = 0;
  const std::vector<PlannedService> plan = Plan({24 * kGiB});
  const std::string text = ServingPlanText(plan, 512);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'),
            static_cast<std::ptrdiff_t>(plan.size()) + 1);
  EXPECT_THAT(text, HasSubstr("of 512 tokens"));
  EXPECT_THAT(text, HasSubstr("24.00 auto"));
}

TEST_F(ServingPlanTest, AFolderThatIsNoCheckpointIsAnError) {
  EXPECT_FALSE(PlanServices(Config(), "/nowhere", backend_, {}).ok());
}

}  // namespace
}  // namespace llava::server
