// One version's way from its folder to its first request, and the swap around it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>

#include "tests/unit/server/registry/version_loader_fixture.h"

namespace llava::registry {
namespace {

using enum VersionState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using VersionLoaderStagesTest = VersionLoaderTest;

TEST_F(VersionLoaderStagesTest, OneThingIsDoneAfterTheOther) {
  const Ticket ticket = Load("a");
  EXPECT_TRUE(loader_->HasWork());
  ASSERT_TRUE(Step(WorkerIdle{}).ok());
  ASSERT_TRUE(work_ && std::holds_alternative<IdentifyWork>(*work_));
  EXPECT_FALSE(loader_->HasWork());  // until this is done
  ASSERT_TRUE(Step(WorkDone{Identified{Identity("a"), std::nullopt}}).ok());
  WorkAll();
  EXPECT_THAT(stages_, ElementsAre("a:verifying", "a:loading", "a:warming", "a:probing"));
  EXPECT_EQ(routes_.live->digest, Sha256Of("a"));
  EXPECT_TRUE((*ticket)->status.ok());
  Load("b");
  WorkAll();
  EXPECT_EQ(stages_[5], "b:loading beside");
}

TEST_F(VersionLoaderStagesTest, WhatWasRolledBackIsRefusedUnlessSomebodyAsks) {
  notes_[Sha256Of("a")] = "bad";
  const Ticket refused = Load("a");
  WorkAll();
  EXPECT_EQ(Info("a").ending, Ending::kRefused);
  EXPECT_THAT((*refused)->status.message(), HasSubstr("it was rolled back before: bad"));
  Load("a", Origin::kOperator);
  WorkAll();
  EXPECT_EQ(Info("a").state, kLive);
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(VersionLoaderStagesTest, AFailedSwapRestoresWhatMadeRoomAndThenDecides) {
  options_.swap = true;
  options_.keep_previous = false;
  Load("a");
  WorkAll();
  fails_ = "b";
  const Ticket ticket = Load("b");
  WorkAll();  // b waits for a to be gone
  EXPECT_EQ(Info("a").ending, Ending::kSwappedOut);
  EXPECT_TRUE(routes_.swap.has_value());
  EXPECT_FALSE(loader_->HasWork());
  LastUserLeaves("a");
  ASSERT_TRUE(WorkOnce());  // frees a
  ASSERT_TRUE(WorkOnce());  // fails to load b
  EXPECT_FALSE(ticket->has_value());
  EXPECT_TRUE(routes_.swap.has_value());
  WorkAll();
  EXPECT_EQ((*ticket)->status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(routes_.live->digest, Sha256Of("a"));
  EXPECT_FALSE(routes_.swap.has_value());
}

TEST_F(VersionLoaderStagesTest, AStopDuringASwapLetsThoseGoWhoWait) {
  options_.swap = true;
  Load("a");
  WorkAll();
  const Ticket ticket = Load("b");
  WorkAll();
  ASSERT_TRUE(routes_.swap.has_value());
  ASSERT_TRUE(Step(StopRequest{}).ok());
  EXPECT_FALSE(routes_.swap.has_value());
  EXPECT_EQ((*ticket)->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Step(LoadRequest{"c", Origin::kOperator, nullptr}).code(),
            absl::StatusCode::kUnavailable);
  LastUserLeaves("a");
  WorkAll();
  EXPECT_EQ(Info("a").state, kFreed);
}

TEST_F(VersionLoaderStagesTest, WhatFailsAfterItWasLoadedIsFreedBeforeItIsRejected) {
  fails_ = "a";
  fails_in_ = kProbing;
  const Ticket ticket = Load("a");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(WorkOnce());
  EXPECT_EQ(Info("a").state, kDraining);
  EXPECT_FALSE(ticket->has_value());
  ASSERT_TRUE(WorkOnce());
  EXPECT_EQ(Info("a").state, kRejected);
  EXPECT_THAT((*ticket)->status.message(), HasSubstr("probing: bad"));
}

TEST_F(VersionLoaderStagesTest, OlderVersionsAreSearchedOnlyWhileNothingIsLive) {
  fails_ = "b";
  listed_ = {"b", "a"};
  Load("b");
  WorkAll();
  EXPECT_EQ(Info("a").state, kLive);
  fails_ = "c";
  listed_ = {"c", "0"};
  Load("c");
  WorkAll();
  EXPECT_FALSE(loader_->table().KnowsFolder("0"));
}

}  // namespace
}  // namespace llava::registry
