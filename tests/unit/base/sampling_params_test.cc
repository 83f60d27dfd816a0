#include "base/sampling_params.h"

#include <functional>
#include <limits>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava {
namespace {

using ::testing::StartsWith;

TEST(SamplingParamsTest, DefaultsAreValid) { EXPECT_TRUE(Validate(SamplingParams()).ok()); }

TEST(SamplingParamsTest, EveryFieldOutOfRangeIsNamed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::pair<const char*, std::function<void(SamplingParams&)>> cases[] = {
      {"temperature", [](auto& p) { p.temperature = -1; }},
      {"temperature", [&](auto& p) { p.temperature = nan; }},
      {"top_p", [](auto& p) { p.top_p = -0.1; }},
      {"top_p", [](auto& p) { p.top_p = 1.01; }},
      {"top_p", [&](auto& p) { p.top_p = nan; }},
      {"top_k", [](auto& p) { p.top_k = -1; }},
      {"min_p", [](auto& p) { p.min_p = 2; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 0; }},
      {"presence_penalty", [](auto& p) { p.presence_penalty = 3; }},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = -3; }},
      {"logit_bias[7]", [](auto& p) { p.logit_bias[7] = 101; }},
      {"top_logprobs", [](auto& p) { p.top_logprobs = 21; }},
      {"max_tokens", [](auto& p) { p.max_tokens = 0; }},
      {"min_tokens", [](auto& p) { p.min_tokens = 257; }},
      {"stop", [](auto& p) { p.stop.assign(17, "x"); }},
      {"stop[1]", [](auto& p) { p.stop = {"x", ""}; }},
      {"stop_token_ids", [](auto& p) { p.stop_token_ids.assign(kMaxListedTokens + 1, 1); }},
      {"logit_bias",
       [](auto& p) {
         for (int token = 0; token <= kMaxListedTokens; ++token) p.logit_bias[token] = 1;
       }},
  };
  for (const auto& [field, spoil] : cases) {
    SamplingParams params;
    spoil(params);
    const absl::Status status = Validate(params);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), StartsWith(field));
    EXPECT_EQ(FieldOf(status), field);
  }
}

TEST(SamplingParamsTest, AWholeNumberIsShownWhole) {
  SamplingParams params;
  params.min_tokens = std::numeric_limits<int>::max();
  EXPECT_THAT(std::string(Validate(params).message()), StartsWith("min_tokens: 2147483647 is not"));
}

TEST(SamplingParamsTest, TheBoundsThemselvesAreValid) {
  SamplingParams params;
  params.top_p = 0;
  params.stop_token_ids.assign(kMaxListedTokens, 1);
  params.min_tokens = params.max_tokens;
  params.stop.assign(16, std::string(256, 'x'));
  EXPECT_TRUE(Validate(params).ok()) << Validate(params);
}

}  // namespace
}  // namespace llava
