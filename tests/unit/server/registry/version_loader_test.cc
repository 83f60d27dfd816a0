#include "server/registry/version_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>

#include "tests/unit/server/registry/version_loader_fixture.h"

namespace llava::registry {
namespace {

using enum VersionState;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(VersionLoaderTest, ARollbackDuringALoadIsNotedBeforeTheNextStage) {
  LoadLiveAndCanary();
  Load("c");
  ASSERT_TRUE(WorkOnce());  // identified
  ASSERT_TRUE(WorkOnce());  // verified
  ASSERT_TRUE(Step(RollBackRequest{"odd"}).ok());
  ASSERT_TRUE(WorkOnce());
  EXPECT_THAT(notes_[Sha256Of("b")], HasSubstr("rolled back: odd"));
  EXPECT_EQ(stages_.back(), "c:verifying");
}

TEST_F(VersionLoaderTest, AStutterOfTheMachineDoesNotCondemnACanaryForEver) {
  LoadLiveAndCanary();
  Answers("a", 10, {.first_token_seconds = 0.1});
  Answers("b", 5, {.first_token_seconds = 130});
  EXPECT_EQ(Info("b").ending, Ending::kTooSlow);
  LastUserLeaves("b");
  WorkAll();
  EXPECT_EQ(Info("b").state, kRejected);
  EXPECT_THAT(notes_, IsEmpty());  // other daemons may try it
  // `latest` names it still, which is no reason to try it at once.
  time_.now += std::chrono::minutes(9);
  ASSERT_TRUE(Step(TimePassed{}).ok());
  EXPECT_FALSE(loader_->HasWork());
  time_.now += std::chrono::minutes(1);
  ASSERT_TRUE(Step(TimePassed{}).ok());
  WorkAll();
  ASSERT_EQ(Info("b").state, kCanary);
  Answers("b", 20, {.first_token_seconds = 0.1});
  EXPECT_EQ(Info("b").state, kLive);
}

TEST_F(VersionLoaderTest, ACanaryThatIsSlowAgainAndAgainIsRolledBack) {
  LoadLiveAndCanary();
  for (int trial = 0; trial < 3; ++trial) {
    ASSERT_EQ(Info("b").state, kCanary) << trial;
    Answers("a", 10, {.next_token_seconds = 0.01});
    Answers("b", 5, {.next_token_seconds = 0.03});
    LastUserLeaves("b");
    WorkAll();
    time_.now += std::chrono::minutes(20);
    ASSERT_TRUE(Step(TimePassed{}).ok());
    WorkAll();
  }
  EXPECT_EQ(Info("b").ending, Ending::kRolledBack);
  EXPECT_EQ(notes_.size(), 1u);
}

TEST_F(VersionLoaderTest, ANewerVersionTakesThePlaceOfASlowOne) {
  LoadLiveAndCanary();
  Answers("a", 10, {.first_token_seconds = 0.1});
  Answers("b", 5, {.first_token_seconds = 130});
  LastUserLeaves("b");
  Load("c");
  time_.now += std::chrono::hours(1);
  ASSERT_TRUE(Step(TimePassed{}).ok());
  WorkAll();
  EXPECT_EQ(Info("b").state, kRejected);
  EXPECT_EQ(Info("c").state, kCanary);
}

TEST_F(VersionLoaderTest, TooManyLoadsAreRefused) {
  for (int i = 0; i < 16; ++i) Load(std::to_string(i), Origin::kOperator);
  EXPECT_EQ(Step(LoadRequest{"x", Origin::kOperator, nullptr}).code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace llava::registry
