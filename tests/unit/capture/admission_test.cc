#include "capture/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "capture/open_shard.h"
#include "capture/shard.h"
#include "capture/verdicts.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class AdmissionTest : public ::testing::Test {
 protected:
  // Three rows that nobody said anything about.
  void Write(const std::string& name) const {
    auto shard = OpenShard::Create(temp_.path(), name).value();
    for (const char* id : {"a", "b", "c"}) {
      ASSERT_TRUE(shard->Append(test::CapturedRow("ann", id), {}).ok());
    }
    ASSERT_TRUE(shard->Close().ok());
  }

  void Judge(const std::string& name, const Verdicts& verdicts) const {
    ASSERT_TRUE(WriteVerdicts(verdicts, ShardFolder(temp_.path(), name)).ok());
  }

  AdmittedRows Admitted(const Wanted& wanted) const {
    AdmittedRows rows;
    Sha256 lines;
    EXPECT_TRUE(Admit(temp_.path(), wanted, &rows, &lines).ok());
    return rows;
  }

  const test::TempDir temp_;
};

constexpr Wanted kLiked = {.up = true, .corrected = true};

TEST_F(AdmissionTest, AShardWithoutAWantedRowIsThereAndEmpty) {
  EXPECT_THAT(Admitted(kLiked), IsEmpty());
  Write("1700000000000");
  EXPECT_THAT(Admitted(kLiked), ElementsAre(Pair(HasSubstr("/shards/1700000000000"), IsEmpty())));
  EXPECT_EQ(CountRows(Admitted({.unrated = true})), 3);
}

TEST_F(AdmissionTest, EachRowWhoseAdmissionChangedCountsOnce) {
  Write("1700000000000");
  Judge("1700000000000",
        {{0, {.thumb = Thumb::kUp}}, {1, {.thumb = Thumb::kUp, .correction = "Two."}}});
  const AdmittedRows before = Admitted(kLiked);
  EXPECT_EQ(ChangedRows({}, before), 2);
  EXPECT_EQ(ChangedRows(before, before), 0);
  // What the filter does not admit may be said without a change.
  Judge("1700000000000", {{0, {.thumb = Thumb::kUp}},
                          {1, {.thumb = Thumb::kDown, .correction = "Two."}},
                          {2, {.thumb = Thumb::kDown}}});
  EXPECT_EQ(ChangedRows(before, Admitted(kLiked)), 0);
  // Row 0 is no longer admitted, row 1 has another answer, row 2 is new.
  Judge("1700000000000", {{0, {.thumb = Thumb::kDown}},
                          {1, {.thumb = Thumb::kUp, .correction = "Three."}},
                          {2, {.thumb = Thumb::kUp}}});
  EXPECT_EQ(ChangedRows(before, Admitted(kLiked)), 3);
  // Asked to be forgotten: the next version is to be trained without it.
  Judge("1700000000000",
        {{0, {.is_removed = true}}, {1, {.thumb = Thumb::kUp, .correction = "Two."}}});
  EXPECT_EQ(ChangedRows(before, Admitted(kLiked)), 1);
}

TEST_F(AdmissionTest, AShardThatWentByAgeIsNoNews) {
  Write("1700000000000");
  Judge("1700000000000", {{0, {.thumb = Thumb::kUp}}});
  Write("1700000000001");
  Judge("1700000000001", {{0, {.thumb = Thumb::kUp}}});
  const AdmittedRows before = Admitted(kLiked);
  ASSERT_TRUE(DeleteShard(temp_.path(), "1700000000000").ok());
  EXPECT_EQ(ChangedRows(before, Admitted(kLiked)), 0);
}

TEST_F(AdmissionTest, TheLinesAreThoseThatARunTakes) {
  Write("1700000000000");
  Judge("1700000000000", {{1, {.thumb = Thumb::kUp, .correction = "Two."}}});
  AdmittedRows rows;
  Sha256 lines;
  ASSERT_TRUE(Admit(temp_.path(), kLiked, &rows, &lines).ok());
  Sha256 taken;
  const auto take = [&](const ChosenRow& row) {
    taken.Update(row.line).Update("\n");
    EXPECT_EQ(row.number, 1);
    return absl::OkStatus();
  };
  ASSERT_TRUE(Choose(temp_.path(), {"1700000000000"}, kLiked, take).ok());
  EXPECT_EQ(lines.Finish(), taken.Finish());
}

TEST_F(AdmissionTest, FilesAreThoseOfRowsAndVerdicts) {
  EXPECT_THAT(*ShardFiles(temp_.path()), IsEmpty());
  Write("1700000000000");
  EXPECT_THAT(*ShardFiles(temp_.path()),
              ElementsAre(HasSubstr("1700000000000/rows.jsonl"), HasSubstr("/verdicts.jsonl"),
                          HasSubstr("/closed.json")));
}

}  // namespace
}  // namespace llava::capture
