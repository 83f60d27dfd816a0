#include "rpc/message_waits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace llava::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MessageWaitsTest : public ::testing::Test {
 protected:
  MessageWaits::Place Enter(const std::string& caller, const std::string& call) {
    return waits_.Enter(caller, clock_.Now(), [this, call](const absl::Status& why) {
      ended_.push_back(call);
      why_ = why;
    });
  }

  ManualClock clock_;
  MessageWaits waits_{{.patience = std::chrono::seconds(10), .most_per_caller = 2}};
  std::vector<std::string> ended_;
  absl::Status why_;
};

TEST_F(MessageWaitsTest, WhoTakesTooLongIsEndedOnce) {
  const auto first = Enter("alice", "a1");
  clock_.Advance(std::chrono::seconds(6));
  const auto second = Enter("bob", "b1");
  waits_.EndOverdue(clock_.Now());
  EXPECT_THAT(ended_, IsEmpty());
  clock_.Advance(std::chrono::seconds(4));
  waits_.EndOverdue(clock_.Now());
  waits_.EndOverdue(clock_.Now());
  EXPECT_THAT(ended_, ElementsAre("a1"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(why_));
  EXPECT_THAT(std::string(why_.message()), HasSubstr("within 10 s"));
  EXPECT_FALSE(waits_.Leave(first));
  EXPECT_TRUE(waits_.Leave(second));
  clock_.Advance(std::chrono::seconds(60));
  waits_.EndOverdue(clock_.Now());
  EXPECT_THAT(ended_, ElementsAre("a1")) << "nobody waits any more";
}

TEST_F(MessageWaitsTest, OneMoreThanACallerMayHaveEndsItsOldest) {
  const auto a1 = Enter("alice", "a1");
  const auto a2 = Enter("alice", "a2");
  const auto b1 = Enter("bob", "b1");
  EXPECT_THAT(ended_, IsEmpty());
  const auto a3 = Enter("alice", "a3");
  EXPECT_THAT(ended_, ElementsAre("a1"));
  EXPECT_TRUE(absl::IsResourceExhausted(why_));
  EXPECT_FALSE(waits_.Leave(a1));
  for (const auto& place : {a2, a3, b1}) EXPECT_TRUE(waits_.Leave(place));
}

}  // namespace
}  // namespace llava::rpc
