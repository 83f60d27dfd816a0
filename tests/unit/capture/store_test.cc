#include "capture/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>

#include "base/file.h"
#include "capture/shard.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() { clock_.Advance(std::chrono::hours(24 * 20'000)); }

  std::unique_ptr<Store> Open() {
    auto store = Store::Open(options_, &clock_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  std::vector<std::string> Shards() const { return *ListShards(options_.dir); }

  // Turns of so many bytes each, with names of its own.
  void AddMany(Store& store, const std::string& tenant, int count, std::size_t bytes) {
    for (int i = 0; i < count; ++i) {
      const std::string id = std::to_string(added_++);
      Row row = test::CapturedPicture(tenant, id, "");
      row.pictures[0] = id + std::string(bytes, 'x');
      const absl::Status added = store.Add(row);
      ASSERT_TRUE(added.ok()) << added;
      ASSERT_LE(store.bytes(), options_.bytes);
    }
  }

  Verdicts VerdictsOf(const std::string& name) const {
    return *ReadVerdicts(ShardFolder(options_.dir, name));
  }

  int added_ = 0;
  const test::TempDir dir_;
  ManualClock clock_;
  Store::Options options_{.dir = dir_.path() + "/capture",
                          .bytes = 800'000,
                          .retention = std::chrono::hours(24),
                          .shard_time = std::chrono::hours(1)};
};

TEST_F(StoreTest, AShardIsClosedWhenItIsOldEnough) {
  auto store = Open();
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r1")).ok());
  ASSERT_TRUE(store->Tend().ok());
  EXPECT_THAT(Shards(), IsEmpty());
  clock_.Advance(options_.shard_time);
  ASSERT_TRUE(store->Tend().ok());
  EXPECT_THAT(Shards(), SizeIs(1));
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r2")).ok());
  store.reset();
  EXPECT_THAT(Shards(), SizeIs(2)) << "one that ends closes its shard";
}

TEST_F(StoreTest, AShardGoesWhenItsRetentionIsOver) {
  auto store = Open();
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r1")).ok());
  ASSERT_TRUE(store->CloseShards().ok());
  clock_.Advance(options_.retention);
  ASSERT_TRUE(store->Tend().ok());
  EXPECT_THAT(Shards(), SizeIs(1));
  clock_.Advance(std::chrono::milliseconds(1));
  ASSERT_TRUE(store->Tend().ok());
  EXPECT_THAT(Shards(), IsEmpty());
  EXPECT_EQ(store->bytes(), 0);
  EXPECT_TRUE(absl::IsNotFound(store->Judge("ann", "r1", {.thumb = Thumb::kUp})));
}

TEST_F(StoreTest, TheOldestGoWhenThereIsNoRoom) {
  auto store = Open();
  for (int i = 0; i < 30; ++i) {
    Row row = test::CapturedPicture("ann", "r" + std::to_string(i), "");
    row.pictures[0] = std::string(80'000, static_cast<char>('a' + i));
    ASSERT_TRUE(store->Add(row).ok());
    ASSERT_LE(store->bytes(), options_.bytes);
  }
  EXPECT_GE(store->bytes(), options_.bytes * 3 / 4);
  ASSERT_TRUE(store->CloseShards().ok());
  EXPECT_EQ(FolderBytes(ShardsFolder(options_.dir)), store->bytes());
  EXPECT_TRUE(absl::IsNotFound(store->Judge("ann", "r0", {.thumb = Thumb::kUp})));
  EXPECT_TRUE(store->Judge("ann", "r29", {.thumb = Thumb::kUp}).ok());
}

TEST_F(StoreTest, ATenantWithinItsShareLosesNothingToAnothersTraffic) {
  options_.tenants = {"ann", "bob"};
  auto store = Open();
  AddMany(*store, "ann", 10, 30'000);
  const std::int64_t anns = store->BytesOfTenants().at("ann");
  EXPECT_LT(anns, options_.bytes / 2);
  AddMany(*store, "bob", 100, 30'000);
  EXPECT_EQ(store->BytesOfTenants().at("ann"), anns);
  EXPECT_TRUE(store->Judge("ann", "0", {.thumb = Thumb::kUp}).ok());
  EXPECT_GT(store->BytesOfTenants().at("bob"), options_.bytes / 2 - 100'000)
      << "what ann leaves free, bob may use";
  const std::int64_t with_verdict = store->BytesOfTenants().at("ann");
  EXPECT_GT(with_verdict, anns);
  store.reset();
  store = Open();
  const std::int64_t reopened = store->BytesOfTenants().at("ann");
  EXPECT_GE(reopened, with_verdict);
  EXPECT_LT(reopened, with_verdict + 1'000) << "more than the record of a shard that is closed";
  AddMany(*store, "bob", 100, 30'000);
  EXPECT_TRUE(store->Judge("ann", "0", {.thumb = Thumb::kUp}).ok()) << "after a restart, too";
}

TEST_F(StoreTest, WhoHasMoreThanItsShareMakesRoomForTheOthers) {
  options_.tenants = {"ann", "bob"};
  auto store = Open();
  AddMany(*store, "bob", 100, 30'000);
  EXPECT_GT(store->BytesOfTenants().at("bob"), options_.bytes * 3 / 4) << "nobody else wants it";
  AddMany(*store, "ann", 12, 30'000);
  const std::int64_t anns = store->BytesOfTenants().at("ann");
  EXPECT_GT(anns, 12 * 30'000) << "all of it is there";
  EXPECT_LE(store->BytesOfTenants().at("bob"), options_.bytes - anns);
  EXPECT_GE(store->BytesOfTenants().at("bob"), options_.bytes / 2 - 100'000);
}

TEST_F(StoreTest, WhoIsNotNamedAnyMoreGoesFirst) {
  options_.tenants = {"ann", "bob"};
  auto store = Open();
  AddMany(*store, "ann", 10, 30'000);
  AddMany(*store, "bob", 10, 30'000);
  ASSERT_TRUE(store->SetTenants({"bob", "eve"}).ok());
  EXPECT_GT(store->BytesOfTenants().at("ann"), 300'000) << "as long as there is room";
  AddMany(*store, "bob", 2, 30'000);
  AddMany(*store, "eve", 10, 30'000);
  EXPECT_GT(store->BytesOfTenants().at("bob"), 12 * 30'000);
  EXPECT_GT(store->BytesOfTenants().at("eve"), 10 * 30'000);
  EXPECT_LT(store->BytesOfTenants()["ann"], 150'000);
}

TEST_F(StoreTest, AShardHasRowsOfOneTenant) {
  options_.tenants = {"ann", "bob"};
  auto store = Open();
  for (int i = 0; i < 3; ++i) {
    AddMany(*store, "ann", 1, 100);
    AddMany(*store, "bob", 1, 100);
  }
  store.reset();
  ASSERT_THAT(Shards(), SizeIs(2));
  for (const std::string& shard : Shards()) {
    std::set<std::string> tenants;
    ASSERT_TRUE(ReadRows(ShardFolder(options_.dir, shard), [&](absl::string_view line) {
                  tenants.insert(ParseRowHead(line)->tenant);
                  return absl::OkStatus();
                }).ok());
    EXPECT_THAT(tenants, SizeIs(1));
  }
}

TEST_F(StoreTest, WhatIsLargerThanAShardIsRefused) {
  auto store = Open();
  const absl::Status status =
      store->Add(test::CapturedPicture("ann", "r1", std::string(100'001, 'x')));
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(status.message(), HasSubstr("expected at most 100000"));
}

TEST_F(StoreTest, AVerdictFindsItsRowInOpenAndClosedShardsAndAfterARestart) {
  auto store = Open();
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r1")).ok());
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r2")).ok());
  ASSERT_TRUE(store->Judge("ann", "r2", {.thumb = Thumb::kUp}).ok());
  ASSERT_TRUE(store->CloseShards().ok());
  ASSERT_TRUE(store->Judge("ann", "r1", {.thumb = Thumb::kDown, .correction = "So."}).ok());
  store.reset();
  store = Open();
  const std::string shard = Shards().at(0);
  EXPECT_EQ(VerdictsOf(shard).at(0).correction, "So.");
  EXPECT_EQ(VerdictsOf(shard).at(1).thumb, Thumb::kUp);
  EXPECT_EQ(VerdictsOf(shard).at(1).time, clock_.UnixMillis() / 1000);
  ASSERT_TRUE(store->Judge("ann", "r1", {.thumb = Thumb::kNone}).ok());
  EXPECT_FALSE(VerdictsOf(shard).contains(0)) << "taken back";
  EXPECT_EQ(store->bytes(), FolderBytes(ShardFolder(options_.dir, shard)));
}

TEST_F(StoreTest, TheNewestAnswerOfANameIsJudged) {
  auto store = Open();
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r1")).ok());
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r1", "Again?")).ok());
  ASSERT_TRUE(store->Judge("ann", "r1", {.thumb = Thumb::kUp}).ok());
  ASSERT_TRUE(store->CloseShards().ok());
  const Verdicts verdicts = VerdictsOf(Shards().at(0));
  EXPECT_FALSE(verdicts.contains(0));
  EXPECT_TRUE(verdicts.contains(1));
}

TEST_F(StoreTest, NobodyJudgesWhatIsAnothers) {
  auto store = Open();
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r1")).ok());
  const absl::Status status = store->Judge("bob", "r1", {.thumb = Thumb::kUp});
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("'r1'"), HasSubstr("'bob'")));
}

TEST_F(StoreTest, WhatWasRemovedIsNotJudged) {
  auto store = Open();
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r1")).ok());
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r2", "Else?")).ok());
  EXPECT_EQ(store->Remove("ann", "r1")->deleted, 1);
  EXPECT_TRUE(absl::IsNotFound(store->Judge("ann", "r1", {.thumb = Thumb::kUp})));
  EXPECT_TRUE(store->Judge("ann", "r2", {.thumb = Thumb::kUp}).ok());
  EXPECT_EQ(VerdictsOf(Shards().at(0)).count(1), 1u);
  EXPECT_TRUE(absl::IsNotFound(store->Remove("ann", "r1").status()));
}

TEST_F(StoreTest, VerdictsOfManyShardsAndACrashBetweenThemAreKept) {
  auto store = Open();
  for (const char* id : {"r1", "r2", "r3"}) {
    ASSERT_TRUE(store->Add(test::CapturedRow("ann", id)).ok());
    ASSERT_TRUE(store->CloseShards().ok());
  }
  for (int i = 0; i < 3; ++i) {
    for (const char* id : {"r1", "r2", "r3"}) {
      const Verdict verdict = {.thumb = i == 1 ? Thumb::kDown : Thumb::kUp};
      ASSERT_TRUE(store->Judge("ann", id, verdict).ok());
    }
  }
  EXPECT_EQ(store->bytes(), FolderBytes(ShardsFolder(options_.dir)));
  for (const std::string& shard : Shards()) {
    const std::string text = *ReadFile(VerdictsFile(ShardFolder(options_.dir, shard)), 1 << 20);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
    EXPECT_EQ(VerdictsOf(shard).at(0).thumb, Thumb::kUp);
  }
  // Killed while it wrote a line.
  const std::string file = VerdictsFile(ShardFolder(options_.dir, Shards().at(1)));
  store.reset();
  std::ofstream(file, std::ios::app) << "{\"row\":0,\"ver";
  store = Open();
  ASSERT_TRUE(store->Judge("ann", "r2", {.thumb = Thumb::kDown}).ok());
  EXPECT_EQ(VerdictsOf(Shards().at(1)).at(0).thumb, Thumb::kDown);
  EXPECT_EQ(store->bytes(), FolderBytes(ShardsFolder(options_.dir)));
}

TEST_F(StoreTest, ARemovalTakesAllLinesOfItsVerdicts) {
  auto store = Open();
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r1")).ok());
  ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r2", "Else?")).ok());
  ASSERT_TRUE(store->Judge("ann", "r2", {.thumb = Thumb::kUp}).ok());
  ASSERT_TRUE(store->Judge("ann", "r1", {.correction = "The first words."}).ok());
  ASSERT_TRUE(store->Judge("ann", "r1", {.correction = "The second words."}).ok());
  EXPECT_EQ(store->Remove("ann", "r1")->deleted, 1);
  const std::string file = VerdictsFile(ShardFolder(options_.dir, Shards().at(0)));
  EXPECT_THAT(*ReadFile(file, 1 << 20), Not(HasSubstr("words")));
  ASSERT_TRUE(store->Judge("ann", "r2", {.thumb = Thumb::kDown}).ok());
  EXPECT_EQ(VerdictsOf(Shards().at(0)).at(1).thumb, Thumb::kDown);
  EXPECT_EQ(store->bytes(), FolderBytes(ShardsFolder(options_.dir)));
}

TEST_F(StoreTest, ACrashLeavesWhatWasWritten) {
  const std::string aside = dir_.path() + "/aside";
  {
    auto store = Open();
    ASSERT_TRUE(store->Add(test::CapturedRow("ann", "r1")).ok());
    std::filesystem::copy(options_.dir, aside, std::filesystem::copy_options::recursive);
  }
  options_.dir = aside;
  const auto store = Open();
  EXPECT_THAT(Shards(), SizeIs(1));
  EXPECT_TRUE(store->Judge("ann", "r1", {.thumb = Thumb::kUp}).ok());
}

TEST_F(StoreTest, OneProcessHasTheFolder) {
  const auto store = Open();
  const absl::Status status = Store::Open(options_, &clock_).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(status.message(), HasSubstr(options_.dir));
}

}  // namespace
}  // namespace llava::capture
