#include "server/scheduling/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llava::scheduling {
namespace {

using ::testing::HasSubstr;

TEST(LimitsTest, NamesTheWrongField) {
  SchedulerOptions options;
  options.num_blocks = 10;
  EXPECT_TRUE(Validate(options).ok());
  options.max_running = options.max_batch_tokens + 1;
  EXPECT_EQ(Validate(options).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Validate(options).message()), HasSubstr("max_running is 513"));
  AdmissionOptions admission;
  EXPECT_TRUE(Validate(admission).ok());
  admission.per_tenant.pixels = 0;
  EXPECT_THAT(std::string(Validate(admission).message()), HasSubstr("per_tenant.pixels is 0"));
}

template <typename Options>
std::string Wrong(const Options& options) {
  return std::string(Validate(options).message());
}

TEST(LimitsTest, EachSchedulerOptionHasBothEnds) {
  const auto with = [](auto SchedulerOptions::* field, auto value) {
    SchedulerOptions options;
    options.num_blocks = 10;
    options.*field = value;
    return Wrong(options);
  };
  using O = SchedulerOptions;
  EXPECT_EQ(with(&O::num_blocks, 0), "num_blocks is 0, expected 1 to 16777216");
  EXPECT_EQ(with(&O::num_blocks, kMaxBlocks), "");
  EXPECT_EQ(with(&O::num_blocks, kMaxBlocks + 1), "num_blocks is 16777217, expected 1 to 16777216");
  EXPECT_EQ(with(&O::max_batch_tokens, kMaxBatchTokens), "");
  EXPECT_EQ(with(&O::max_batch_tokens, kMaxBatchTokens + 1),
            "max_batch_tokens is 65537, expected 1 to 65536");
  EXPECT_EQ(with(&O::max_running, 0), "max_running is 0, expected 1 to 512");
  EXPECT_EQ(with(&O::max_running, 512), "");
  EXPECT_EQ(with(&O::max_images_per_step, 64), "");
  EXPECT_EQ(with(&O::encoder_parts, kMaxEncoderParts), "");
  EXPECT_EQ(with(&O::encoder_parts, 0), "encoder_parts is 0, expected 1 to 1024");
  EXPECT_EQ(with(&O::max_images_per_step, 65), "max_images_per_step is 65, expected 1 to 64");
  EXPECT_EQ(with(&O::max_context_tokens, 1), "max_context_tokens is 1, expected 2 to 1048576");
  EXPECT_EQ(with(&O::max_context_tokens, 2), "");
  EXPECT_THAT(with(&O::feature_cache_bytes, std::int64_t{-1}), HasSubstr("feature_cache_bytes"));
  EXPECT_EQ(with(&O::feature_cache_bytes, std::int64_t{0}), "");
  EXPECT_THAT(with(&O::feature_bytes_per_token, (std::int64_t{1} << 32) + 1),
              HasSubstr("feature_bytes_per_token"));
  EXPECT_THAT(with(&O::aging, Duration(0)), HasSubstr("aging is 0"));
  EXPECT_EQ(with(&O::aging, Duration(std::chrono::hours(24))), "");
  EXPECT_THAT(with(&O::patience, Duration(std::chrono::hours(24)) + Duration(1)),
              HasSubstr("patience"));
  EXPECT_THAT(with(&O::fair_share_slack, std::int64_t{0}), HasSubstr("fair_share_slack is 0"));
  EXPECT_THAT(with(&O::prompt_token_weight, 1001), HasSubstr("prompt_token_weight is 1001"));
  EXPECT_THAT(with(&O::image_token_weight, -1), HasSubstr("image_token_weight is -1"));
  EXPECT_THAT(with(&O::output_token_weight, 1001), HasSubstr("output_token_weight is 1001"));
}

TEST(LimitsTest, EachAdmissionBoundIsAtLeastOne) {
  for (const auto field : {&AdmissionBounds::requests, &AdmissionBounds::tokens,
                           &AdmissionBounds::bytes, &AdmissionBounds::pixels}) {
    AdmissionOptions options;
    options.total.*field = 1;
    EXPECT_EQ(Wrong(options), "");
    options.total.*field = 0;
    EXPECT_THAT(Wrong(options), HasSubstr("admission.total."));
    options = {};
    options.per_tenant.*field = 0;
    EXPECT_THAT(Wrong(options), HasSubstr("admission.per_tenant."));
  }
  AdmissionOptions options;
  options.total.requests = kMaxRequests + 1;
  EXPECT_EQ(Wrong(options), "admission.total.requests is 65537, expected 1 to 65536");
}

}  // namespace
}  // namespace llava::scheduling
