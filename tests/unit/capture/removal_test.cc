#include "capture/removal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "capture/open_shard.h"
#include "capture/row.h"
#include "capture/shard.h"
#include "capture/trainings.h"
#include "capture/verdicts.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RemovalTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::vector<Row>& rows) const {
    auto shard = OpenShard::Create(dir_.path(), name).value();
    for (const Row& row : rows) {
      std::vector<Digest> pictures;
      for (const std::string& picture : row.pictures) pictures.push_back(Sha256Of(picture));
      EXPECT_TRUE(shard->Append(row, pictures).ok());
    }
    EXPECT_TRUE(shard->Close().ok());
  }

  std::string TextOf(const std::string& name) const {
    return *ReadFile(RowsFile(ShardFolder(dir_.path(), name)), 1 << 20);
  }

  static Row Later(Row row, std::string id) {
    row.id = std::move(id);
    row.said.insert(row.said.end(), {"And?", "No more."});
    return row;
  }

  const test::TempDir dir_;
};

TEST_F(RemovalTest, TheConversationGoesFromAllShards) {
  const Row first = test::CapturedPicture("ann", "r1", "cat");
  Write("1700000000000",
        {first, test::CapturedRow("ann", "other"), test::CapturedRow("bob", "r1")});
  Write("1700000000001", {Later(first, "r2")});
  const auto removed = RemoveConversation(dir_.path(), "ann", "r2");
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->deleted, 2);
  EXPECT_EQ(removed->kept, 0);
  EXPECT_THAT(removed->versions, IsEmpty());
  EXPECT_THAT(*ListShards(dir_.path()), ElementsAre("1700000000000"));
  EXPECT_THAT(TextOf("1700000000000"), Not(HasSubstr("What is it?")));
  EXPECT_THAT(TextOf("1700000000000"), AllOf(HasSubstr("other"), HasSubstr("bob")));
  EXPECT_TRUE(absl::IsNotFound(RemoveConversation(dir_.path(), "ann", "r2").status()));
}

TEST_F(RemovalTest, WhatWasTrainedOnIsMarkedAndItsVersionsAreNamed) {
  const Row first = test::CapturedRow("ann", "r1");
  Write("1700000000000", {first, test::CapturedRow("ann", "other", "What?")});
  Write("1700000000001", {Later(first, "r2")});
  ASSERT_TRUE(TrainingsLock::Take(dir_.path()).ok());
  ASSERT_TRUE(WriteTraining({"/runs/a", {"1700000000000"}, {"v1", "v2"}}, dir_.path()).ok());
  ASSERT_TRUE(WriteTraining({"/runs/b", {"1700000000009"}, {"v3"}}, dir_.path()).ok());
  const std::string before = TextOf("1700000000000");
  const auto removed = RemoveConversation(dir_.path(), "ann", "r1");
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->deleted, 1);
  EXPECT_EQ(removed->kept, 1);
  EXPECT_THAT(removed->versions, ElementsAre("v1", "v2"));
  EXPECT_THAT(removed->runs, ElementsAre("/runs/a"));
  EXPECT_EQ(TextOf("1700000000000"), before) << "manifests name its digest";
  const Verdicts verdicts = *ReadVerdicts(ShardFolder(dir_.path(), "1700000000000"));
  EXPECT_TRUE(verdicts.at(0).is_removed);
  EXPECT_THAT(verdicts.at(0).versions, ElementsAre("v1", "v2"));
  EXPECT_FALSE(verdicts.contains(1));
  EXPECT_EQ(RemoveConversation(dir_.path(), "ann", "r1")->kept, 1) << "may be asked again";
}

TEST_F(RemovalTest, NobodyRemovesWhatIsAnothers) {
  Write("1700000000000", {test::CapturedRow("ann", "r1")});
  const absl::Status status = RemoveConversation(dir_.path(), "bob", "r1").status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("'r1'"), HasSubstr("'bob'")));
}

}  // namespace
}  // namespace llava::capture
