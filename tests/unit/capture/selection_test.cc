#include "capture/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "capture/closing.h"
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

TEST_F(SelectionTest, ADamagedShardIsNamedAndNothingOfItIsTaken) {
  constexpr char kOther[] = "1700000000001";
  auto shard = OpenShard::Create(dir_.path(), kOther).value();
  ASSERT_TRUE(shard->Append(test::CapturedRow("ann", "other"), {}).ok());
  ASSERT_TRUE(shard->Close().ok());
  const std::string folder = ShardFolder(dir_.path(), kName);
  const std::string file = RowsFile(folder);
  const std::string whole = *ReadFile(file, 1 << 20);
  const auto choose = [&](std::vector<std::string>* ids) {
    return Choose(dir_.path(), {kName, kOther}, {.up = true, .unrated = true},
                  [ids](const ChosenRow& row) {
                    ids->push_back(ParseRowHead(row.line)->id);
                    return absl::OkStatus();
                  });
  };
  const std::pair<std::string, std::string> damages[] = {
      {"", "rows.jsonl: is empty, expected the rows with which it was closed"},
      {whole.substr(0, whole.size() - 20), "rows.jsonl:6"},
      {whole.substr(0, whole.rfind('\n', whole.size() - 2) + 1), "rows.jsonl: has 5 rows of "},
      {absl::StrReplaceAll(whole, {{"Because.", "Become.."}}), "rows.jsonl: has SHA-256 "}};
  for (const auto& [bytes, why] : damages) {
    ASSERT_TRUE(WriteFile(file, bytes).ok());
    std::vector<std::string> ids;
    const auto choice = choose(&ids);
    ASSERT_TRUE(choice.ok()) << choice.status();
    EXPECT_THAT(ids, ElementsAre("other"));
    EXPECT_EQ(choice->of, 1);
    ASSERT_EQ(choice->set_aside.size(), 1u);
    EXPECT_EQ(choice->set_aside[0].folder, folder);
    EXPECT_THAT(choice->set_aside[0].why, HasSubstr(why));
  }
  ASSERT_TRUE(WriteFile(file, whole).ok());
  std::vector<std::string> ids;
  EXPECT_THAT(choose(&ids)->set_aside, IsEmpty());
  EXPECT_THAT(ids, ElementsAre("up", "unrated", "other"));
}

TEST_F(SelectionTest, AShardOfAnEarlierVersionHasNoRecordAndIsReadAsItIs) {
  const std::string folder = ShardFolder(dir_.path(), kName);
  const std::string whole = *ReadFile(RowsFile(folder), 1 << 20);
  ASSERT_TRUE(WriteFile(RowsFile(folder), whole.substr(0, whole.find('\n') + 1)).ok());
  ASSERT_TRUE(std::filesystem::remove(ClosingFile(folder)));
  EXPECT_THAT(Ids({.up = true}), ElementsAre("up"));
  EXPECT_THAT(choice_.set_aside, IsEmpty());
}

// Between the rows' removal and the folder's, also where the daemon was killed there.
TEST_F(SelectionTest, AShardWhoseLastRowsAreBeingRemovedIsNotDamaged) {
  const std::string folder = ShardFolder(dir_.path(), kName);
  std::vector<RowsState> states = *ReadClosing(folder);
  states.push_back(RowsSum().Finish());
  ASSERT_TRUE(WriteClosing(states, folder).ok());
  ASSERT_TRUE(WriteFile(RowsFile(folder), "").ok());
  EXPECT_THAT(Ids({.up = true}), IsEmpty());
  EXPECT_THAT(choice_.set_aside, IsEmpty());
}

TEST_F(SelectionTest, AShardWithADamagedRecordIsSetAside) {
  const std::string folder = ShardFolder(dir_.path(), kName);
  for (const char* record : {"", "{}", "{\"rows\": []}", "{\"rows\": [{\"lines\": -1}]}"}) {
    ASSERT_TRUE(WriteFile(ClosingFile(folder), record).ok());
    EXPECT_THAT(Ids({.up = true}), IsEmpty()) << record;
    ASSERT_EQ(choice_.set_aside.size(), 1u) << record;
    EXPECT_THAT(choice_.set_aside[0].why, HasSubstr("closed.json: "));
  }
}

}  // namespace
}  // namespace llava::capture
