#include "training/data/holdout.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HoldOutTest : public testing::Test {
 protected:
  // A row of these pictures, `images` as JSON.
  void Add(const std::string& images, const std::string& question = "q") {
    int places = 0;
    for (std::size_t at = images.find("png"); at != images.npos; at = images.find("png", at + 1)) {
      ++places;
    }
    std::string text;
    for (int i = 0; i < places; ++i) text += "<image>";
    rows_ += absl::StrCat(R"({"id": "r", )", images.empty() ? "" : R"("image": )", images,
                          images.empty() ? "" : ", ", R"("conversations": [{"from": "human", )",
                          R"("value": ")", text, question, R"("}, {"from": "gpt", "value": "a"}]})",
                          "\n");
  }

  InstructionDataset Open() const {
    std::ofstream(dir_.path() + "/rows.jsonl") << rows_;
    auto dataset = InstructionDataset::Open({dir_.path() + "/rows.jsonl"}, {});
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return *std::move(dataset);
  }

  static std::set<std::string> PicturesOf(const InstructionDataset& dataset,
                                          const std::vector<std::int64_t>& rows) {
    std::set<std::string> pictures;
    for (const std::int64_t row : rows) {
      const Row read = *dataset.Read(row);
      pictures.insert(read.images.begin(), read.images.end());
    }
    return pictures;
  }

  test::TempDir dir_;
  std::string rows_;
};

TEST_F(HoldOutTest, NoPictureIsOnBothSides) {
  for (int i = 0; i < 60; ++i) Add(absl::StrCat("\"", i % 20, ".png\""));
  const InstructionDataset dataset = Open();
  const auto split = HoldOutRows(dataset, 12, 7);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->held_out.size(), 12u);
  EXPECT_EQ(split->train.size(), 48u);
  std::vector<std::string> both;
  std::ranges::set_intersection(PicturesOf(dataset, split->train),
                                PicturesOf(dataset, split->held_out), std::back_inserter(both));
  EXPECT_THAT(both, IsEmpty());
  EXPECT_TRUE(std::ranges::is_sorted(split->train));
  EXPECT_TRUE(std::ranges::is_sorted(split->held_out));
}

TEST_F(HoldOutTest, DependsOnTheSeedAlone) {
  for (int i = 0; i < 60; ++i) Add(absl::StrCat("\"", i, ".png\""));
  const InstructionDataset dataset = Open();
  EXPECT_EQ(HoldOutRows(dataset, 12, 7)->held_out, HoldOutRows(Open(), 12, 7)->held_out);
  EXPECT_NE(HoldOutRows(dataset, 12, 7)->held_out, HoldOutRows(dataset, 12, 8)->held_out);
}

// a and b share a row, b and c another one: the three belong together, however they are spelt.
TEST_F(HoldOutTest, PicturesThatShareARowStayTogether) {
  Add(R"(["a.png", "b.png"])");
  Add(R"(["b.png", "./c.png"])");
  Add(R"("c.png")");
  for (int i = 0; i < 3; ++i) Add(absl::StrCat("\"", i, ".png\""));
  const InstructionDataset dataset = Open();
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto split = HoldOutRows(dataset, 3, seed);
    ASSERT_TRUE(split.ok()) << split.status();
    const auto first = std::count_if(split->held_out.begin(), split->held_out.end(),
                                     [](std::int64_t row) { return row < 3; });
    EXPECT_TRUE(first == 0 || first == 3) << first;
  }
}

TEST_F(HoldOutTest, TheSameTextIsOneGroup) {
  for (int i = 0; i < 4; ++i) Add("", "again");
  for (int i = 0; i < 4; ++i) Add("", absl::StrCat("once ", i));
  const InstructionDataset dataset = Open();
  const auto split = HoldOutRows(dataset, 3, 1);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->held_out.size(), 3u);
  for (const std::int64_t row : split->held_out) EXPECT_GE(row, 4);
}

TEST_F(HoldOutTest, SomethingIsLeftToTrainWith) {
  for (int i = 0; i < 3; ++i) Add(absl::StrCat("\"", i, ".png\""));
  const auto split = HoldOutRows(Open(), 100, 1);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->held_out.size(), 2u);
}

TEST_F(HoldOutTest, OnePictureCannotBeSplit) {
  for (int i = 0; i < 9; ++i) Add("\"a.png\"");
  const absl::Status status = HoldOutRows(Open(), 3, 1).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("of 9 rows none"));
}

TEST_F(HoldOutTest, NothingIsHeldBackWhereNothingIsAsked) {
  Add("\"a.png\"");
  const auto split = HoldOutRows(Open(), 0, 1);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->train.size(), 1u);
  EXPECT_THAT(split->held_out, IsEmpty());
}

}  // namespace
}  // namespace llava::training
