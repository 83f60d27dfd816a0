#include "server/hosting/engine_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "server/scheduling/limits.h"

namespace llava::server {
namespace {

using ::testing::HasSubstr;

class EngineOptionsTest : public ::testing::Test {
 protected:
  EngineOptionsTest() {
    model_.block_bytes = 1000;
    model_.feature_bytes_per_token = 8192;
    model_.encoder_parts = 25;
    llava_.text.max_positions = 2048;
    chosen_ = {.kv_cache_bytes = 12'999,
               .max_batch_tokens = 512,
               .max_running = 64,
               .max_images_per_step = 1,
               .kv_cache_why = "set by kv_cache_bytes"};
    config_.max_context_tokens = 190;
  }

  absl::StatusOr<engine::EngineOptions> Options() const {
    return ToEngineOptions(config_, "cuda:1", chosen_, model_, llava_);
  }

  Config config_;
  EngineDefaults chosen_;
  BackendModel model_;
  model::LlavaConfig llava_;
};

TEST_F(EngineOptionsTest, TokensAreGuessedWhereBitsDoNotDependOnIt) {
  config_.draft_tokens = 5;
  EXPECT_EQ(Options()->scheduler.draft_tokens, 0);  // on a GPU
  const auto on_cpu = ToEngineOptions(config_, "cpu", chosen_, model_, llava_);
  ASSERT_TRUE(on_cpu.ok()) << on_cpu.status();
  EXPECT_EQ(on_cpu->scheduler.draft_tokens, 5);
  const auto drafts = [&](const char* device) {
    return ToEngineOptions(config_, device, chosen_, model_, llava_)->scheduler.draft_tokens;
  };
  EXPECT_EQ(drafts("cpu+cpu"), 5);      // a + b has the bits of b + a
  EXPECT_EQ(drafts("cpu+cpu+cpu"), 0);  // (a + b) + c may have others than a + (b + c)
  EXPECT_EQ(drafts("cuda:0+cuda:1"), 0);
}

TEST_F(EngineOptionsTest, EnginesOfOneKindHaveDevicesThatDifferByNumberAlone) {
  const auto kind = [&](const char* device) {
    return ToEngineOptions(config_, device, chosen_, model_, llava_)->kind;
  };
  EXPECT_EQ(kind("cuda:0"), kind("cuda:11"));
  EXPECT_EQ(kind("cuda"), kind("cuda:1"));
  EXPECT_NE(kind("cuda:0"), kind("cpu"));
  EXPECT_NE(kind("cuda:0"), kind("cuda:0+cuda:1"));
}

TEST_F(EngineOptionsTest, EachSettingGoesToItsPlace) {
  config_.stream_tokens = 31;
  config_.queue_requests = 32;
  chosen_.max_batch_tokens = 333;
  chosen_.max_running = 34;
  chosen_.max_images_per_step = 5;
  config_.max_context_tokens = 180;
  config_.image_cache_bytes = 37;
  config_.prefix_cache = false;
  config_.max_step_time = std::chrono::milliseconds(123);
  const auto options = Options();
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->name, "cuda:1");
  EXPECT_EQ(options->stream_tokens, 31);
  EXPECT_EQ(options->inbox_capacity, 32);
  const scheduling::SchedulerOptions& scheduler = options->scheduler;
  EXPECT_EQ(scheduler.num_blocks, 12);  // whole ones
  EXPECT_EQ(scheduler.max_batch_tokens, 333);
  EXPECT_EQ(scheduler.max_running, 34);
  EXPECT_EQ(scheduler.max_images_per_step, 5);
  EXPECT_EQ(scheduler.max_context_tokens, 180);
  EXPECT_EQ(scheduler.feature_cache_bytes, 37);
  EXPECT_EQ(scheduler.feature_bytes_per_token, 8192);
  EXPECT_FALSE(scheduler.prefix_cache);
  EXPECT_EQ(scheduler.encoder_parts, 25);
  EXPECT_EQ(scheduler.max_step_time, std::chrono::milliseconds(123));
}

TEST_F(EngineOptionsTest, NoLongerThanTheModelsPositions) {
  chosen_.kv_cache_bytes = 128'000;
  config_.max_context_tokens = 4096;
  EXPECT_EQ(Options()->scheduler.max_context_tokens, 2048);
  config_.max_context_tokens = 2047;
  EXPECT_EQ(Options()->scheduler.max_context_tokens, 2047);
}

TEST_F(EngineOptionsTest, NoMoreBlocksThanASchedulerCounts) {
  model_.block_bytes = 1;
  chosen_.kv_cache_bytes = std::int64_t{1} << 40;
  EXPECT_EQ(Options()->scheduler.num_blocks, scheduling::kMaxBlocks);
}

TEST_F(EngineOptionsTest, ACacheOfLessThanOneConversationIsRefused) {
  config_.max_context_tokens = 33;  // three blocks
  chosen_.kv_cache_bytes = 3000;
  EXPECT_EQ(Options()->scheduler.num_blocks, 3);
  chosen_.kv_cache_bytes = 2999;
  EXPECT_EQ(Options().status(),
            absl::InvalidArgumentError(
                "kv_cache_bytes: 2999 on cuda:1 (set by kv_cache_bytes) hold 32 tokens of this "
                "model, expected at least one conversation of max_context_tokens, 33: 3000 bytes, "
                "or fewer max_context_tokens"));
}

TEST_F(EngineOptionsTest, ACacheOfLessThanTwoConversationsIsWarnedAbout) {
  config_.max_context_tokens = 33;
  chosen_.kv_cache_bytes = 6000;
  EXPECT_EQ(KvCacheWarning(*Options()), "");
  chosen_.kv_cache_bytes = 5999;
  EXPECT_EQ(KvCacheWarning(*Options()),
            "the KV cache of cuda:1 holds 80 tokens, which is less than two conversations of "
            "max_context_tokens, 33: long ones wait for each other");
}

TEST_F(EngineOptionsTest, WhatTheSchedulerCannotDoIsRefused) {
  chosen_.max_running = chosen_.max_batch_tokens + 1;
  const absl::Status status = Options().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("max_running is 513, expected 1 to 512"));
}

}  // namespace
}  // namespace llava::server
