#include "capture/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "capture/open_shard.h"
#include "capture/row.h"
#include "capture/shard.h"
#include "capture/verdicts.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kName[] = "1700000000000";

class SelectionTest : public ::testing::Test {
 protected:
  // Rows up, down, corrected, unrated, cut (up), removed.
  SelectionTest() {
    auto shard = OpenShard::Create(dir_.path(), kName).value();
    for (const char* id : {"up", "down", "corrected", "unrated", "cut", "removed"}) {
      Row row = test::CapturedRow("ann", id);
      if (row.id == "cut") row.finish = "length";
      EXPECT_TRUE(shard->Append(row, {}).ok());
    }
    EXPECT_TRUE(shard->Close().ok());
    const Verdicts verdicts = {{0, {.thumb = Thumb::kUp}},
                               {1, {.thumb = Thumb::kDown}},
                               {2, {.thumb = Thumb::kDown, .correction = "Therefore."}},
                               {4, {.thumb = Thumb::kUp}},
                               {5, {.thumb = Thumb::kUp, .is_removed = true}}};
    EXPECT_TRUE(WriteVerdicts(verdicts, ShardFolder(dir_.path(), kName)).ok());
  }

  std::vector<std::string> Ids(const Wanted& wanted) {
    std::vector<std::string> ids;
    const auto choice = Choose(dir_.path(), {kName}, wanted, [&](const ChosenRow& row) {
      ids.push_back(ParseRowHead(row.line)->id);
      lines_.push_back(row.line);
      return absl::OkStatus();
    });
    EXPECT_TRUE(choice.ok()) << choice.status();
    choice_ = *choice;
    return ids;
  }

  const test::TempDir dir_;
  Choice choice_;
  std::vector<std::string> lines_;
};

TEST_F(SelectionTest, OnlyWhatPeopleLiked) {
  EXPECT_THAT(Ids({.up = true}), ElementsAre("up"));
  EXPECT_EQ(choice_.of, 6);
  EXPECT_EQ(choice_.rows, 1);
  EXPECT_EQ(choice_.up, 2);
  EXPECT_EQ(choice_.cut, 1);
  EXPECT_EQ(choice_.removed, 1);
  ASSERT_EQ(choice_.shards.size(), 1u);
  EXPECT_EQ(choice_.shards[0].name, kName);
  EXPECT_EQ(choice_.shards[0].rows, 1);
  const std::string bytes = *ReadFile(RowsFile(ShardFolder(dir_.path(), kName)), 1 << 20);
  EXPECT_EQ(choice_.shards[0].sha256, Sha256Of(bytes));
}

TEST_F(SelectionTest, ACorrectedAnswerIsLearnedAsItShouldHaveBeen) {
  EXPECT_THAT(Ids({.corrected = true}), ElementsAre("corrected"));
  EXPECT_THAT(lines_[0], AllOf(HasSubstr("Therefore."), Not(HasSubstr("Because."))));
}

TEST_F(SelectionTest, NeitherWhatPeopleDislikedNorWhatIsToBeForgotten) {
  EXPECT_THAT(Ids({.up = true, .corrected = true, .unrated = true}),
              ElementsAre("up", "corrected", "unrated"));
}

TEST_F(SelectionTest, AShardOfWhichNothingIsTakenIsNotNamed) {
  EXPECT_THAT(Ids({}), IsEmpty());
  EXPECT_TRUE(choice_.shards.empty());
}

}  // namespace
}  // namespace llava::capture
