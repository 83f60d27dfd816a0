#include "server/hosting/device_defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/checkpoint_fixture.h"
#include "tests/support/fake_backend.h"

namespace llava::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kGiB = 1 << 30;

// LLaVA-1.5-7B in bfloat16: 0.5 MiB a token, 8 MiB a block, some 13.2 GiB of weights.
DeviceFacts SevenB(const std::string& device, std::int64_t total) {
  const std::int64_t weights = 13 * kGiB + 200 * kMiB;
  return {.device = device,
          .free = total - weights,
          .weights = weights,
          .step = 600 * kMiB,
          .block = 8 * kMiB,
          .context_tokens = 4096};
}

TEST(DeviceDefaultsTest, ALargeGpuKeepsRoomForASecondVersion) {
  const EngineDefaults chosen = ChooseDefaults(Config(), SevenB("cuda:0", 141 * kGiB));
  EXPECT_TRUE(chosen.second_version_fits);
  // 0.92 x 127.8 less weights, step and pictures: some 270 conversations of 751 tokens.
  EXPECT_GT(chosen.kv_cache_bytes, 102 * kGiB);
  EXPECT_LT(chosen.kv_cache_bytes, 104 * kGiB);
  EXPECT_EQ(chosen.max_running, 256);
  EXPECT_EQ(chosen.max_batch_tokens, 2048);
  EXPECT_EQ(chosen.max_images_per_step, 1);
  EXPECT_THAT(chosen.kv_cache_why, HasSubstr("13.20 GiB for a second version"));
}

TEST(DeviceDefaultsTest, EightyGigabytesAreFewerConversations) {
  const EngineDefaults chosen = ChooseDefaults(Config(), SevenB("cuda:0", 80 * kGiB));
  EXPECT_TRUE(chosen.second_version_fits);
  EXPECT_GT(chosen.kv_cache_bytes, 46 * kGiB);
  EXPECT_LT(chosen.kv_cache_bytes, 48 * kGiB);
  EXPECT_EQ(chosen.max_running, chosen.kv_cache_bytes / (8 * kMiB) * 16 / 512);
}

TEST(DeviceDefaultsTest, ASmallGpuAnswersNowAndSaysThatASecondVersionDoesNotFit) {
  const EngineDefaults chosen = ChooseDefaults(Config(), SevenB("cuda:0", 24 * kGiB));
  EXPECT_FALSE(chosen.second_version_fits);
  EXPECT_GT(chosen.kv_cache_bytes, 8 * kGiB);
  EXPECT_LT(chosen.kv_cache_bytes, 10 * kGiB);
  EXPECT_THAT(chosen.kv_cache_why, HasSubstr("only `reload: swap` will work"));
  Config swap;
  swap.reload = "swap";
  const EngineDefaults same = ChooseDefaults(swap, SevenB("cuda:0", 24 * kGiB));
  EXPECT_EQ(same.kv_cache_bytes, chosen.kv_cache_bytes);
  EXPECT_TRUE(same.second_version_fits);
  EXPECT_THAT(same.kv_cache_why, Not(HasSubstr("second version")));
}

TEST(DeviceDefaultsTest, AModelThatLeavesNothingGetsNothing) {
  DeviceFacts facts = SevenB("cuda:0", 24 * kGiB);
  facts.free = 100 * kMiB;
  EXPECT_EQ(ChooseDefaults(Config(), facts).kv_cache_bytes, 0);
}

TEST(DeviceDefaultsTest, EnginesOnOneDeviceShareItsMemory) {
  DeviceFacts facts = SevenB("cuda:0", 80 * kGiB);
  const std::int64_t alone = ChooseDefaults(Config(), facts).kv_cache_bytes;
  facts.engines_there = 2;
  EXPECT_EQ(ChooseDefaults(Config(), facts).kv_cache_bytes, alone / 2);
}

TEST(DeviceDefaultsTest, CpusGiveHalf) {
  const Config config;
  const DeviceFacts facts = {.device = "cpu",
                             .free = 20 * kGiB,
                             .weights = 2 * kGiB,
                             .block = 4 * kMiB,
                             .context_tokens = 4096};
  const EngineDefaults chosen = ChooseDefaults(config, facts);
  EXPECT_EQ(chosen.kv_cache_bytes,
            10 * kGiB - 2 * kGiB - config.image_cache_bytes - config.memory_reserve_bytes);
  EXPECT_EQ(chosen.max_batch_tokens, 512);
  EXPECT_EQ(chosen.max_running, 60);  // 1,920 blocks
}

TEST(DeviceDefaultsTest, CpusGiveNoMoreThanAllAnswersCanUse) {
  Config config;
  const DeviceFacts facts = {
      .device = "cpu", .free = 20 * kGiB, .weights = kMiB, .block = 4096, .context_tokens = 500};
  EXPECT_EQ(ChooseDefaults(config, facts).kv_cache_bytes, 64 * 32 * 4096);  // 32 blocks each
  EXPECT_EQ(ChooseDefaults(config, facts).max_running, 64);
  config.max_running = 3;
  EXPECT_EQ(ChooseDefaults(config, facts).kv_cache_bytes, 3 * 32 * 4096);
}

TEST(DeviceDefaultsTest, WhatIsSetStays) {
  Config config;
  config.kv_cache_bytes = 3 * kGiB;
  config.max_batch_tokens = 100;
  config.max_running = 7;
  config.max_images_per_step = 4;
  const EngineDefaults chosen = ChooseDefaults(config, SevenB("cuda:0", 80 * kGiB));
  EXPECT_EQ(chosen.kv_cache_bytes, 3 * kGiB);
  EXPECT_EQ(chosen.kv_cache_why, "set by kv_cache_bytes");
  EXPECT_EQ(chosen.max_batch_tokens, 100);
  EXPECT_EQ(chosen.max_running, 7);
  EXPECT_EQ(chosen.max_images_per_step, 4);
}

TEST(DeviceDefaultsTest, RunningAnswersFitIntoAStepWhicheverIsSet) {
  Config config;
  config.max_batch_tokens = 20;
  EXPECT_EQ(ChooseDefaults(config, SevenB("cuda:0", 141 * kGiB)).max_running, 20);
  config = Config();
  config.max_running = 3000;
  EXPECT_EQ(ChooseDefaults(config, SevenB("cuda:0", 141 * kGiB)).max_batch_tokens, 3000);
}

TEST(DeviceDefaultsTest, AllChoicesOfARequestCanRunEvenOnASmallCache) {
  Config config;
  config.max_n = 16;
  DeviceFacts facts = SevenB("cuda:0", 24 * kGiB);
  facts.free = 2 * kGiB;
  EXPECT_EQ(ChooseDefaults(config, facts).max_running, 16);
}

TEST(DeviceDefaultsTest, ASumOfDevicesIsItsRanks) {
  EXPECT_THAT(RanksOf("cpu"), ElementsAre("cpu"));
  EXPECT_THAT(RanksOf("cuda:0+cuda:3"), ElementsAre("cuda:0", "cuda:3"));
  EXPECT_TRUE(IsCpu("cpu"));
  EXPECT_TRUE(IsCpu("cpu+cpu"));
  EXPECT_FALSE(IsCpu("cuda:0+cuda:1"));
}

TEST(DeviceDefaultsTest, MemoryIsSharedByEnginesAndByTheCpusOfASum) {
  const std::vector<std::string> entries = {"cuda:0+cuda:1", "cuda:1", "cpu+cpu", "cpu"};
  EXPECT_EQ(EnginesThere(entries, "cuda:1"), 2);
  EXPECT_EQ(EnginesThere(entries, "cuda:0+cuda:1"), 2);
  EXPECT_EQ(EnginesThere(entries, "cuda:0"), 1);
  EXPECT_EQ(EnginesThere(entries, "cpu+cpu"), 3);
  EXPECT_EQ(EnginesThere(entries, "cuda:2"), 0);
}

// The backend is asked for what one device of the sum has: half of the weights and of each block.
TEST(DeviceDefaultsTest, EachDeviceOfASumHasItsPart) {
  testing::FakeBackend backend;
  backend.memory = 26 * kGiB;
  backend.block_bytes = 12 * kMiB;
  const auto facts = [&](const std::string& device) {
    return FactsBeforeLoading(Config(), model::GoldenCheckpointDir(), backend, device, 48 * kGiB);
  };
  const auto one = facts("cuda"), two = facts("cuda:0+cuda:1"), cpus = facts("cpu+cpu");
  ASSERT_TRUE(one.ok() && two.ok() && cpus.ok()) << two.status();
  EXPECT_EQ(one->free, 22 * kGiB);
  EXPECT_EQ(two->weights, 13 * kGiB);
  EXPECT_EQ(two->free, 35 * kGiB);
  EXPECT_EQ(two->block, 6 * kMiB);
  EXPECT_EQ(cpus->weights, 26 * kGiB);  // in the one memory of both
  EXPECT_EQ(cpus->block, 6 * kMiB);
  DeviceFacts shared = *cpus;
  shared.engines_there = 2;
  EXPECT_THAT(ChooseDefaults(Config(), shared).kv_cache_why, HasSubstr("for each of 2 devices"));
}

TEST(DeviceDefaultsTest, OneThreadComputesWhereAllDevicesAreGpus) {
  Config config;
  config.devices = {"cuda:0", "cuda:1"};
  EXPECT_EQ(ChooseThreads(config), 1);
  config.threads = 5;
  EXPECT_EQ(ChooseThreads(config), 5);
  config.threads.reset();
  config.devices = {"cuda:0+cuda:1"};
  EXPECT_EQ(ChooseThreads(config), 1);
  config.devices = {"cuda:0", "cpu"};
  config.threads.reset();
  EXPECT_GE(ChooseThreads(config), 1);
}

TEST(DeviceDefaultsTest, AQuarterOfTheCpusPreparesPictures) {
  Config config;
  EXPECT_EQ(ChoosePrepareThreads(config, 0.5), 2);
  EXPECT_EQ(ChoosePrepareThreads(config, 8), 2);
  EXPECT_EQ(ChoosePrepareThreads(config, 64), 16);
  config.prepare_threads = 3;
  EXPECT_EQ(ChoosePrepareThreads(config, 64), 3);
}

TEST(DeviceDefaultsTest, ExplainsWhatIsAutomaticAndNothingElse) {
  Config config;
  config.checkpoint = model::GoldenCheckpointDir();
  config.devices = {"cuda:0"};
  config.max_running = 5;
  testing::FakeBackend backend;
  backend.device_memory = 24 * kGiB;
  backend.memory = kGiB;
  const auto notes = ExplainDefaults(config, backend);
  EXPECT_EQ(notes.count("max_running"), 0u);
  ASSERT_EQ(notes.count("kv_cache_bytes"), 1u);
  EXPECT_THAT(notes.at("kv_cache_bytes"), HasSubstr("cuda:0: "));
  EXPECT_THAT(notes.at("kv_cache_bytes"), HasSubstr("92 % of 23.00 GiB"));
  EXPECT_EQ(notes.at("max_batch_tokens"), "cuda:0: 2048.");
  EXPECT_EQ(notes.at("max_step_time"), "cuda:0: 50ms.");
  EXPECT_EQ(notes.at("threads"), "Here 1.");
  EXPECT_EQ(
      notes.at("weights"),
      "cuda:0: as the checkpoint holds them, 1.00 GiB at the peak; fewer bits change answers, "
      "int8 would take 1.00 GiB, fp8 would take 1.00 GiB.");
}

TEST(DeviceDefaultsTest, WithoutACheckpointItIsNotKnownYet) {
  testing::FakeBackend backend;
  const auto notes = ExplainDefaults(Config(), backend);
  EXPECT_EQ(notes.at("kv_cache_bytes"),
            "cpu: chosen when a model is loaded, because now there is no checkpoint in this "
            "configuration.");
  EXPECT_EQ(notes.at("max_step_time"), "cpu: 250ms.");
}

TEST(DeviceDefaultsTest, AStepTakesLongerOnACpu) {
  Config config;
  EXPECT_EQ(StepTime(config, "cpu"), std::chrono::milliseconds(250));
  EXPECT_EQ(StepTime(config, "cuda:0"), std::chrono::milliseconds(50));
  config.max_step_time = std::chrono::milliseconds(7);
  EXPECT_EQ(StepTime(config, "cpu"), std::chrono::milliseconds(7));
}

}  // namespace
}  // namespace llava::server
