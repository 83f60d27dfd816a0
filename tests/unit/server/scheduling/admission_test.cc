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
  EXPECT_TRUE(admission.Reserve("a", One(), TimePoint{}).ok());
  EXPECT_TRUE(admission.Reserve("a", One(), TimePoint{}).ok());
  const absl::Status tenant = admission.Reserve("a", One(), TimePoint{});
  EXPECT_EQ(tenant.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(tenant.message()), HasSubstr("tenant \"a\""));
  EXPECT_TRUE(RetryAfter(tenant).has_value());
  EXPECT_TRUE(admission.Reserve("b", One(), TimePoint{}).ok());
  const absl::Status total = admission.Reserve("c", One(), TimePoint{});
  EXPECT_EQ(total.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(total.message()), HasSubstr("requests in progress in total: 3 of 3"));
}

TEST(AdmissionTest, CountsTokensBytesAndPixels) {
  for (const auto& [cost, name] : {std::pair{One(80), "tokens"}, std::pair{One(0, 900), "bytes"},
                                   std::pair{One(0, 0, 400), "pixels"}}) {
    Admission admission(Options());
    ASSERT_TRUE(admission.Reserve("a", cost, TimePoint{}).ok());
    const absl::Status refused = admission.Reserve("b", cost, TimePoint{});
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(refused.message()), HasSubstr(name));
    admission.Release("a", cost, TimePoint{});
    EXPECT_TRUE(admission.Reserve("b", cost, TimePoint{}).ok());
  }
}

TEST(AdmissionTest, WhatCanNeverFitIsInvalid) {
  Admission admission(Options());
  const absl::Status status = admission.Reserve("a", One(0, 0, 501), TimePoint{});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(RetryAfter(status).has_value());
  EXPECT_EQ(admission.held(), AdmissionCost{});
}

TEST(AdmissionTest, RefusalChangesNothing) {
  Admission admission(Options());
  ASSERT_TRUE(admission.Reserve("a", One(70), TimePoint{}).ok());
  ASSERT_FALSE(admission.Reserve("a", One(20), TimePoint{}).ok());
  EXPECT_EQ(admission.held_by("a").tokens, 70);
  EXPECT_EQ(admission.held().requests, 1);
}

TEST(AdmissionTest, ATenantLeavesRoomForOthers) {
  AdmissionOptions options;
  options.total = {.requests = 16, .tokens = 1000, .bytes = 1000, .pixels = 1000};
  options.per_tenant = options.total;
  Admission admission(options);
  admission.LeaveRoom(true);
  const auto flood = [&](const std::string& tenant) {
    absl::Status status;
    while (status.ok()) status = admission.Reserve(tenant, One(), TimePoint{});
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("for tenant \"" + tenant + "\""));
    EXPECT_TRUE(RetryAfter(status).has_value());
    return admission.held_by(tenant).requests;
  };
  EXPECT_EQ(flood("a"), 8);  // half of it
  EXPECT_EQ(flood("b"), 4);
  EXPECT_EQ(flood("c"), 2);
  EXPECT_TRUE(admission.Reserve("d", One(), TimePoint{}).ok());
  admission.LeaveRoom(false);
  EXPECT_TRUE(admission.Reserve("a", One(), TimePoint{}).ok());
}

TEST(AdmissionTest, RoomIsLeftOfEachBound) {
  for (const auto& [cost, name] : {std::pair{One(400), "tokens"}, std::pair{One(0, 400), "bytes"},
                                   std::pair{One(0, 0, 400), "pixels"}}) {
    AdmissionOptions options;
    options.total = {.requests = 16, .tokens = 1000, .bytes = 1000, .pixels = 1000};
    options.per_tenant = options.total;
    Admission admission(options);
    admission.LeaveRoom(true);
    ASSERT_TRUE(admission.Reserve("a", cost, TimePoint{}).ok());
    const absl::Status refused = admission.Reserve("a", cost, TimePoint{});
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(name));
    EXPECT_TRUE(admission.Reserve("a", One(), TimePoint{}).ok()) << "what needs none of it";
    EXPECT_TRUE(admission.Reserve("b", cost, TimePoint{}).ok());
  }
}

TEST(AdmissionTest, OneRequestMayHoldAllThereIs) {
  Admission admission({.total = {.requests = 4, .tokens = 100, .bytes = 100, .pixels = 100},
                       .per_tenant = {.requests = 4, .tokens = 100, .bytes = 100, .pixels = 100}});
  admission.LeaveRoom(true);
  ASSERT_TRUE(admission.Reserve("a", One(80), TimePoint{}).ok());
  // More of the same request, and nothing of another one.
  EXPECT_TRUE(admission.Reserve("a", {.tokens = 20}, TimePoint{}, One(80)).ok());
  EXPECT_EQ(admission.held_by("a").tokens, 100);
}

class RetryHintTest : public ::testing::Test {
 protected:
  void Reserve(const char* tenant = "b") {
    EXPECT_TRUE(admission_.Reserve(tenant, One(), now_).ok());
  }
  void Release(const char* tenant = "b") { admission_.Release(tenant, One(), now_); }

  // One request ends each `gap`, and another one is always held.
  void Ends(int count, Duration gap) {
    for (int i = 0; i < count; ++i) {
      Reserve();
      now_ += gap;
      Release();
    }
  }

  // What a refused one is told; "a" holds both of its places for that.
  Duration Hint() {
    const std::optional<Duration> hint = RetryAfter(admission_.Reserve("a", One(), now_));
    EXPECT_TRUE(hint.has_value());
    return hint.value_or(Duration{});
  }

  Admission admission_{Options()};
  TimePoint now_{std::chrono::seconds(1000)};
};

TEST_F(RetryHintTest, FollowsHowFastPlacesBecomeFree) {
  Reserve("a");
  Reserve("a");
  EXPECT_EQ(Hint(), std::chrono::seconds(1)) << "nothing is known yet";
  Ends(20, std::chrono::seconds(20));
  EXPECT_EQ(Hint(), std::chrono::seconds(20));
  Ends(9, std::chrono::seconds(5));
  EXPECT_EQ(Hint(), std::chrono::seconds(5));
}

TEST_F(RetryHintTest, TheNextEndComesNearer) {
  Reserve("a");
  Reserve("a");
  Ends(20, std::chrono::seconds(20));
  now_ += std::chrono::seconds(15);
  EXPECT_EQ(Hint(), std::chrono::seconds(5));
  now_ += std::chrono::seconds(15);
  EXPECT_EQ(Hint(), std::chrono::milliseconds(100));
}

TEST_F(RetryHintTest, StaysWithinHalfAMinute) {
  Reserve("a");
  Reserve("a");
  Ends(20, std::chrono::minutes(10));
  EXPECT_EQ(Hint(), std::chrono::seconds(30));
  Ends(20, std::chrono::milliseconds(1));
  EXPECT_EQ(Hint(), std::chrono::milliseconds(100));
}

// A machine that stood still is no reason to send everybody away for long.
TEST_F(RetryHintTest, OneStutterIsNotInIt) {
  Reserve("a");
  Reserve("a");
  Ends(20, std::chrono::seconds(2));
  Ends(7, std::chrono::minutes(2));
  EXPECT_EQ(Hint(), std::chrono::seconds(2));
}

TEST_F(RetryHintTest, TimeInWhichNobodyAskedDoesNotCount) {
  for (int i = 0; i < 20; ++i) {
    Ends(1, std::chrono::seconds(2));
    now_ += std::chrono::hours(1);
  }
  Reserve("a");
  Reserve("a");
  EXPECT_EQ(Hint(), std::chrono::seconds(2));
}

TEST_F(RetryHintTest, APartThatIsGivenBackIsNoEnd) {
  Reserve("a");
  Reserve("a");
  Ends(20, std::chrono::seconds(20));
  for (int i = 0; i < 20; ++i) {
    const AdmissionCost part{.requests = 0, .tokens = 5, .bytes = 0, .pixels = 0};
    ASSERT_TRUE(admission_.Reserve("a", part, now_).ok());
    admission_.Release("a", part, now_);
  }
  EXPECT_EQ(Hint(), std::chrono::seconds(20));
}

TEST(AdmissionCostTest, AddsUpEachBound) {
  AdmissionCost sum{.requests = 1, .tokens = 2, .bytes = 3, .pixels = 4};
  Accumulate(sum, {.requests = 10, .tokens = 20, .bytes = 30, .pixels = 40}, 1);
  EXPECT_EQ(sum, (AdmissionCost{.requests = 11, .tokens = 22, .bytes = 33, .pixels = 44}));
  Accumulate(sum, {.requests = 1, .tokens = 2, .bytes = 3, .pixels = 4}, -1);
  EXPECT_EQ(sum, (AdmissionCost{.requests = 10, .tokens = 20, .bytes = 30, .pixels = 40}));
}

TEST(AdmissionTest, ABoundMayBeReachedButNotPassed) {
  Admission admission(Options());
  EXPECT_TRUE(admission.Reserve("a", One(80), TimePoint{}).ok());
  EXPECT_TRUE(admission.Reserve("b", One(20), TimePoint{}).ok());
  EXPECT_FALSE(admission.Reserve("c", One(1), TimePoint{}).ok());
  EXPECT_EQ(admission.held().tokens, 100);
  EXPECT_EQ(admission.held_by("c"), AdmissionCost{});
}

TEST(AdmissionTest, WhoHoldsNothingIsForgotten) {
  Admission admission(Options());
  ASSERT_TRUE(admission.Reserve("a", One(10), TimePoint{}).ok());
  admission.Release("a", One(10), TimePoint{});
  EXPECT_DEATH(admission.Release("a", One(10), TimePoint{}), "");
}

TEST(AdmissionTest, NamesTheBoundThatNoWaitingHelps) {
  Admission admission(Options());
  EXPECT_EQ(admission.Reserve("a", One(81), TimePoint{}).message(),
            "the request needs 81 tokens, over the limit of 80 for tenant \"a\"");
  EXPECT_EQ(admission.Reserve("a", One(101), TimePoint{}).message(),
            "the request needs 101 tokens, over the limit of 100 in total");
}

TEST(RetryAfterTest, IsCarriedByTheStatus) {
  const absl::Status status =
      WithRetryAfter(absl::ResourceExhaustedError("x"), std::chrono::milliseconds(1500));
  EXPECT_EQ(RetryAfter(status), std::chrono::milliseconds(1500));
  EXPECT_EQ(RetryAfter(absl::ResourceExhaustedError("x")), std::nullopt);
}

}  // namespace
}  // namespace llava::scheduling
