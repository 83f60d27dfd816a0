#include "server/scheduling/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llava::scheduling {
namespace {

using ::testing::HasSubstr;

AdmissionOptions Options() {
  AdmissionOptions options;
  options.total = {.requests = 3, .tokens = 100, .bytes = 1000, .pixels = 500};
  options.per_tenant = {.requests = 2, .tokens = 80, .bytes = 1000, .pixels = 500};
  return options;
}

AdmissionCost One(std::int64_t tokens = 0, std::int64_t bytes = 0, std::int64_t pixels = 0) {
  return {.requests = 1, .tokens = tokens, .bytes = bytes, .pixels = pixels};
}

TEST(AdmissionTest, BoundsEachTenantAndAll) {
  Admission admission(Options());
  EXPECT_TRUE(admission.Reserve("a", One()).ok());
  EXPECT_TRUE(admission.Reserve("a", One()).ok());
  const absl::Status tenant = admission.Reserve("a", One());
  EXPECT_EQ(tenant.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(tenant.message()), HasSubstr("tenant \"a\""));
  EXPECT_TRUE(RetryAfter(tenant).has_value());
  EXPECT_TRUE(admission.Reserve("b", One()).ok());
  const absl::Status total = admission.Reserve("c", One());
  EXPECT_EQ(total.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(total.message()), HasSubstr("requests in progress in total: 3 of 3"));
}

TEST(AdmissionTest, CountsTokensBytesAndPixels) {
  for (const auto& [cost, name] : {std::pair{One(80), "tokens"}, std::pair{One(0, 900), "bytes"},
                                   std::pair{One(0, 0, 400), "pixels"}}) {
    Admission admission(Options());
    ASSERT_TRUE(admission.Reserve("a", cost).ok());
    const absl::Status refused = admission.Reserve("b", cost);
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(refused.message()), HasSubstr(name));
    admission.Release("a", cost, TimePoint{});
    EXPECT_TRUE(admission.Reserve("b", cost).ok());
  }
}

TEST(AdmissionTest, WhatCanNeverFitIsInvalid) {
  Admission admission(Options());
  const absl::Status status = admission.Reserve("a", One(0, 0, 501));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(RetryAfter(status).has_value());
  EXPECT_EQ(admission.held(), AdmissionCost{});
}

TEST(AdmissionTest, RefusalChangesNothing) {
  Admission admission(Options());
  ASSERT_TRUE(admission.Reserve("a", One(70)).ok());
  ASSERT_FALSE(admission.Reserve("a", One(20)).ok());
  EXPECT_EQ(admission.held_by("a").tokens, 70);
  EXPECT_EQ(admission.held().requests, 1);
}

TEST(AdmissionTest, TheHintFollowsHowFastPlacesBecomeFree) {
  Admission admission(Options());
  TimePoint now{};
  const auto hint = [&] {
    EXPECT_TRUE(admission.Reserve("a", One()).ok());
    EXPECT_TRUE(admission.Reserve("a", One()).ok());
    const auto retry = RetryAfter(admission.Reserve("a", One()));
    admission.Release("a", One(), now);
    admission.Release("a", One(), now);
    return *retry;
  };
  const Duration before = hint();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(admission.Reserve("b", One()).ok());
    now += std::chrono::seconds(20);
    admission.Release("b", One(), now);
  }
  EXPECT_GT(hint(), before * 5);
}

TEST(RetryAfterTest, IsCarriedByTheStatus) {
  const absl::Status status =
      WithRetryAfter(absl::ResourceExhaustedError("x"), std::chrono::milliseconds(1500));
  EXPECT_EQ(RetryAfter(status), std::chrono::milliseconds(1500));
  EXPECT_EQ(RetryAfter(absl::ResourceExhaustedError("x")), std::nullopt);
}

}  // namespace
}  // namespace llava::scheduling
