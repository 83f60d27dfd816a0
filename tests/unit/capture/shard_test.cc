#include "capture/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "base/durable_file.h"
#include "base/file.h"
#include "capture/closing.h"
#include "capture/open_shard.h"
#include "capture/verdicts.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kName[] = "1700000000000";

class ShardTest : public ::testing::Test {
 protected:
  // Three rows about two pictures, of which the first two share one.
  std::string Write() const {
    auto shard = OpenShard::Create(dir_.path(), kName).value();
    for (const auto& [id, picture] : {std::pair("r0", "a"), {"r1", "a"}, {"r2", "b"}}) {
      const Row row = test::CapturedPicture("ann", id, picture);
      EXPECT_TRUE(shard->Append(row, {Sha256Of(picture)}).ok());
    }
    EXPECT_TRUE(shard->Close().ok());
    return ShardFolder(dir_.path(), kName);
  }

  static bool HasPicture(const std::string& folder, const std::string& picture) {
    return IsThere(PicturesFolder(folder) + "/" + Sha256Of(picture).Hex());
  }

  static std::vector<std::int64_t> Numbers(const std::string& folder) {
    std::vector<std::int64_t> numbers;
    EXPECT_TRUE(ReadRows(folder, [&](absl::string_view line) {
                  numbers.push_back(ParseRowHead(line)->number);
                  return absl::OkStatus();
                }).ok());
    return numbers;
  }

  static RowsState StateOf(const std::string& text) {
    RowsState state;
    state.lines = std::count(text.begin(), text.end(), '\n');
    state.bytes = std::ssize(text);
    state.sha256 = Sha256Of(text).Hex();
    return state;
  }

  static RowsState RowsNow(const std::string& folder) {
    return StateOf(*ReadFile(RowsFile(folder), 1 << 20));
  }

  static bool IsRow(absl::string_view line, const std::string& id) {
    return ParseRowHead(line)->id == id;
  }

  const test::TempDir dir_;
};

TEST_F(ShardTest, ARemovedRowTakesItsVerdictAndItsPicture) {
  const std::string folder = Write();
  ASSERT_TRUE(
      WriteVerdicts({{1, {.thumb = Thumb::kUp}}, {2, {.thumb = Thumb::kDown}}}, folder).ok());
  const auto removed = RemoveRows(folder, [](absl::string_view line) { return IsRow(line, "r2"); });
  EXPECT_EQ(*removed, 1);
  EXPECT_THAT(Numbers(folder), ElementsAre(0, 1)) << "numbers stay";
  EXPECT_TRUE(HasPicture(folder, "a"));
  EXPECT_FALSE(HasPicture(folder, "b"));
  const Verdicts left = *ReadVerdicts(folder);
  EXPECT_TRUE(left.contains(1));
  EXPECT_FALSE(left.contains(2));
}

TEST_F(ShardTest, ARemovalRewritesTheRecord) {
  const std::string folder = Write();
  const RowsState closed = RowsNow(folder);
  EXPECT_EQ(*RemoveRows(folder, [](absl::string_view line) { return IsRow(line, "r1"); }), 1);
  EXPECT_NE(RowsNow(folder), closed);
  EXPECT_THAT(*ReadClosing(folder), ElementsAre(RowsNow(folder)));
}

TEST_F(ShardTest, ARemovalDoesNotForgetWhatWasLostBefore) {
  const std::string folder = Write();
  const RowsState closed = RowsNow(folder);
  const std::string text = *ReadFile(RowsFile(folder), 1 << 20);
  ASSERT_TRUE(
      WriteFile(RowsFile(folder), text.substr(0, text.rfind('\n', text.size() - 2) + 1)).ok());
  EXPECT_EQ(*RemoveRows(folder, [](absl::string_view line) { return IsRow(line, "r0"); }), 1);
  EXPECT_THAT(Numbers(folder), ElementsAre(1));
  EXPECT_THAT(*ReadClosing(folder), ElementsAre(closed));
}

TEST_F(ShardTest, APictureOfAnotherRowStays) {
  const std::string folder = Write();
  EXPECT_EQ(*RemoveRows(folder, [](absl::string_view line) { return IsRow(line, "r0"); }), 1);
  EXPECT_THAT(Numbers(folder), ElementsAre(1, 2));
  EXPECT_TRUE(HasPicture(folder, "a"));
}

TEST_F(ShardTest, WithoutRowsTheShardGoes) {
  const std::string folder = Write();
  EXPECT_EQ(*RemoveRows(folder, [](absl::string_view) { return true; }), 3);
  EXPECT_FALSE(IsThere(folder));
}

TEST_F(ShardTest, AnEndBetweenTheStepsOfARemovalIsMadeGood) {
  const std::string folder = Write();
  // The rows were replaced, and then the power went.
  std::string kept;
  ASSERT_TRUE(ReadRows(folder, [&](absl::string_view line) {
                if (IsRow(line, "r0")) kept.append(line.data(), line.size()).append("\n");
                return absl::OkStatus();
              }).ok());
  const RowsState before = RowsNow(folder);
  ASSERT_TRUE(WriteFile(folder + "/removing", "").ok());
  ASSERT_TRUE(WriteClosing({before, StateOf(kept)}, folder).ok());
  ASSERT_TRUE(WriteFile(RowsFile(folder), kept).ok());
  ASSERT_TRUE(FinishRemoval(folder).ok());
  EXPECT_FALSE(HasPicture(folder, "b"));
  EXPECT_TRUE(HasPicture(folder, "a"));
  EXPECT_FALSE(IsThere(folder + "/removing"));
  EXPECT_THAT(*ReadClosing(folder), ElementsAre(StateOf(kept)));
}

TEST_F(ShardTest, AnEndBeforeTheRowsAreReplacedLeavesTheRecordOfThoseThatAreThere) {
  const std::string folder = Write();
  const RowsState before = RowsNow(folder);
  ASSERT_TRUE(WriteFile(folder + "/removing", "").ok());
  ASSERT_TRUE(WriteClosing({before, RowsState{1, 2, "other"}}, folder).ok());
  ASSERT_TRUE(FinishRemoval(folder).ok());
  EXPECT_THAT(*ReadClosing(folder), ElementsAre(before));
}

TEST_F(ShardTest, OnlyClosedShardsAreListed) {
  EXPECT_THAT(*ListShards(dir_.path()), IsEmpty());
  Write();
  for (const char* other : {"1700000000001.open", "notes", "1.deleted"}) {
    std::filesystem::create_directory(ShardFolder(dir_.path(), other));
  }
  EXPECT_THAT(*ListShards(dir_.path()), ElementsAre(kName));
  EXPECT_EQ(OpenedAt(kName), 1'700'000'000'000);
  EXPECT_EQ(OpenedAt("1.deleted"), 0);
}

TEST_F(ShardTest, AnErrorNamesFileAndLine) {
  const std::string folder = Write();
  ASSERT_TRUE(WriteFile(RowsFile(folder), "\nx\n").ok());
  const absl::Status read =
      ReadRows(folder, [](absl::string_view line) { return ParseRowHead(line).status(); });
  EXPECT_THAT(read.message(), HasSubstr("rows.jsonl:2: "));
}

TEST_F(ShardTest, ADeletedShardIsGone) {
  Write();
  ASSERT_TRUE(DeleteShard(dir_.path(), kName).ok());
  EXPECT_TRUE(std::filesystem::is_empty(ShardsFolder(dir_.path())));
}

}  // namespace
}  // namespace llava::capture
