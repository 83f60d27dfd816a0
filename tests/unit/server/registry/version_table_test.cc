#include "server/registry/version_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace llava::registry {
namespace {

using enum VersionState;
using ::testing::ElementsAre;

class VersionTableTest : public ::testing::Test {
 protected:
  VersionTable::Entry& Discover(const std::string& dir) {
    VersionIdentity identity;
    identity.digest = Sha256Of(dir);
    return table_.Discover(dir, &identity, time_);
  }
  VersionTable::Entry& Load(const std::string& dir, VersionState last) {
    VersionTable::Entry& entry = Discover(dir);
    for (const VersionState state : {kVerifying, kLoading, kWarming, kProbing, kLive}) {
      table_.Enter(entry, state, "", time_);
      if (state == last) break;
    }
    return entry;
  }

  VersionTable table_;
  StepTime time_{TimePoint{}, 1000};
};

TEST_F(VersionTableTest, EveryChangeIsToldOnceWithItsCause) {
  VersionTable::Entry& entry = Load("a", kVerifying);
  table_.End(entry, Ending::kFailed, "DATA_LOSS: cut", "verifying", time_);
  const auto changes = table_.TakeChanges();
  ASSERT_EQ(changes.size(), 3u);
  EXPECT_EQ(changes[2].info.state, kRejected);
  EXPECT_EQ(changes[2].info.ending, Ending::kFailed);
  EXPECT_EQ(changes[2].cause, "verifying");
  EXPECT_TRUE(table_.TakeChanges().empty());
  const VersionsSnapshot snapshot = table_.Snapshot();
  EXPECT_EQ(snapshot.changes, 3u);
  EXPECT_EQ(snapshot.events.back().reason, "DATA_LOSS: cut");
  EXPECT_EQ(snapshot.events.back().ending, Ending::kFailed);
  EXPECT_EQ(snapshot.events.back().at_ms, 1000);
}

TEST_F(VersionTableTest, TheEndingDecidesBetweenFreedAndRejected) {
  for (const Ending ending :
       {Ending::kReplaced, Ending::kSuperseded, Ending::kUnloaded, Ending::kSwappedOut}) {
    VersionTable::Entry& entry = Load(EndingName(ending), kLive);
    table_.End(entry, ending, "a sentence changes nothing", "", time_);
    EXPECT_EQ(entry.info.state, kDraining);
    table_.Finish(entry, time_);
    EXPECT_EQ(entry.info.state, kFreed) << EndingName(ending);
  }
  for (const Ending ending : {Ending::kFailed, Ending::kRolledBack, Ending::kTooSlow}) {
    VersionTable::Entry& entry = Load(EndingName(ending), kProbing);
    table_.End(entry, ending, "", "", time_);
    table_.Finish(entry, time_);
    EXPECT_EQ(entry.info.state, kRejected) << EndingName(ending);
  }
}

TEST_F(VersionTableTest, AVersionThatComesAgainKeepsItsEntryAndNothingElse) {
  VersionTable::Entry& entry = Load("a", kLive);
  entry.info.answers = 7;
  table_.End(entry, Ending::kRolledBack, "rolled back: odd", "operator", time_);
  table_.Finish(entry, time_);
  EXPECT_EQ(&Discover("a"), &entry);
  EXPECT_EQ(entry.info.ending, Ending::kNone);
  EXPECT_EQ(entry.info.reason, "");
  EXPECT_EQ(entry.info.answers, 0);
  EXPECT_EQ(table_.entries().size(), 1u);
}

TEST_F(VersionTableTest, AFolderOfAnUnknownVersionHasOneEntry) {
  for (int i = 0; i < 3; ++i) {
    VersionTable::Entry& entry = table_.Discover("torn", nullptr, time_);
    table_.End(entry, Ending::kFailed, "cut", "discovered", time_);
  }
  EXPECT_EQ(table_.entries().size(), 1u);
  EXPECT_TRUE(table_.KnowsFolder("torn"));
}

TEST_F(VersionTableTest, ForgetsTheOldestOfWhatIsGone) {
  Load("live", kLive);
  for (int i = 0; i < 100; ++i) {
    VersionTable::Entry& entry = Discover(absl::StrCat("v", i));
    table_.End(entry, Ending::kRefused, "no", "discovered", time_);
  }
  EXPECT_EQ(table_.entries().size(), 64u);
  EXPECT_NE(table_.In(kLive), nullptr);
  EXPECT_FALSE(table_.KnowsFolder("v0"));
  EXPECT_TRUE(table_.KnowsFolder("v99"));
  EXPECT_EQ(table_.Snapshot().events.size(), 206u);
}

TEST_F(VersionTableTest, KnowsWhatEnginesMayHold) {
  VersionTable::Entry& entry = Load("a", kLoading);
  EXPECT_FALSE(table_.AnyLoaded());
  table_.Enter(entry, kWarming, "", time_);
  EXPECT_TRUE(table_.AnyLoaded());
  table_.End(entry, Ending::kFailed, "slow", "warming", time_);
  EXPECT_TRUE(table_.AnyLoaded());
  table_.Finish(entry, time_);
  EXPECT_FALSE(table_.AnyLoaded());
}

using VersionTableDeathTest = VersionTableTest;

TEST_F(VersionTableDeathTest, AnIllegalTransitionAborts) {
  VersionTable::Entry& entry = Load("a", kVerifying);
  EXPECT_DEATH(table_.Enter(entry, kLive, "", time_), "IsLegalTransition");
  EXPECT_DEATH(table_.End(entry, Ending::kNone, "", "", time_), "kNone");
  // What was never loaded cannot be freed.
  EXPECT_DEATH(table_.End(entry, Ending::kReplaced, "", "", time_), "IsRejection");
}

}  // namespace
}  // namespace llava::registry
