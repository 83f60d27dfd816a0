#include "training/objective/conversation_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<std::string>;

// A sample a row, called like it.
class RowBuilder final : public SampleBuilder {
 public:
  absl::StatusOr<std::vector<Sample>> Build(const Row& row) const override {
    Sample sample;
    sample.id = row.id;
    sample.ids = {1, 2, 3};
    sample.labels = {kIgnoreLabel, 2, 3};
    return std::vector<Sample>{sample};
  }
};

class ConversationFeedTest : public ::testing::Test {
 protected:
  ConversationFeedTest() {
    stage_.name = "tune";
    stage_.batch = 6;
    stage_.data.files = {dir_.path() + "/rows.jsonl"};
    WriteRows(20);
  }

  // Of growing length, so that parts of even length are a choice.
  void WriteRows(int rows, const std::string& also = "") {
    std::ofstream out(stage_.data.files[0]);
    for (int i = 0; i < rows; ++i) {
      std::string words = "word";
      for (int more = 0; more < i; ++more) words += " word";
      out << R"({"id": ")" << i << R"(", "conversations": [{"from": "human", "value": ")" << words
          << R"("}, {"from": "gpt", "value": "yes"}]})" << "\n";
    }
    out << also;
  }

  absl::StatusOr<std::unique_ptr<ConversationFeed>> Open(const FeedPosition& position) {
    return ConversationFeed::Open(stage_, std::make_unique<RowBuilder>(), position,
                                  [this](const std::string& line) { lines_.push_back(line); });
  }

  // The ids of the next passes of a feed at `position`.
  std::vector<Ids> Passes(const FeedPosition& position, int count) {
    const auto feed = Open(position);
    EXPECT_TRUE(feed.ok()) << feed.status();
    std::vector<Ids> passes;
    for (int i = 0; i < count; ++i) passes.push_back((*feed)->Next()->sample_ids);
    return passes;
  }

  static Ids Sorted(Ids ids) {
    std::sort(ids.begin(), ids.end());
    return ids;
  }

  test::TempDir dir_;
  StageOptions stage_;
  std::vector<std::string> lines_;
};

TEST_F(ConversationFeedTest, AnEpochHasEveryRowOnce) {
  const auto feed = Open({.seed = 5});
  ASSERT_TRUE(feed.ok()) << feed.status();
  EXPECT_EQ((*feed)->steps_per_epoch(), 4);  // of 6, 6, 6 and 2 rows
  EXPECT_EQ((*feed)->dataset()->size(), 20);
  Ids seen;
  for (int step = 0; step < 4; ++step) {
    const Ids ids = (*feed)->Next()->sample_ids;
    seen.insert(seen.end(), ids.begin(), ids.end());
  }
  Ids all;
  for (int i = 0; i < 20; ++i) all.push_back(absl::StrCat(i));
  EXPECT_EQ(Sorted(seen), Sorted(all));
  EXPECT_TRUE(lines_.empty());
}

TEST_F(ConversationFeedTest, RowsThatAreHeldBackAreNotFed) {
  stage_.validate.share = 0.2;
  stage_.validate.every = 1;
  const auto feed = Open({.seed = 5});
  ASSERT_TRUE(feed.ok()) << feed.status();
  ASSERT_EQ((*feed)->held_out().size(), 4u);
  EXPECT_EQ((*feed)->steps_per_epoch(), 3);  // of 6, 6 and 4 rows
  Ids seen;
  for (int step = 0; step < 3; ++step) {
    const Ids ids = (*feed)->Next()->sample_ids;
    seen.insert(seen.end(), ids.begin(), ids.end());
  }
  for (const std::int64_t row : (*feed)->held_out())
    seen.push_back((*feed)->dataset()->Read(row)->id);
  Ids all;
  for (int i = 0; i < 20; ++i) all.push_back(absl::StrCat(i));
  EXPECT_EQ(Sorted(seen), Sorted(all));
}

// As when a recipe for many rows meets few.
TEST_F(ConversationFeedTest, ANumberOfRowsHoldsBackNotMoreThanHalfOfThem) {
  stage_.validate.rows = 256;
  stage_.validate.every = 1;
  const auto feed = Open({});
  ASSERT_TRUE(feed.ok()) << feed.status();
  EXPECT_EQ((*feed)->held_out().size(), 10u);
  EXPECT_THAT(lines_, testing::ElementsAre(HasSubstr("validate.rows is 256, of 20 rows in all")));
}

TEST_F(ConversationFeedTest, FilesAreWeighed) {
  const std::string other = dir_.path() + "/other.jsonl";
  std::ofstream(other) << R"({"id": "old", "conversations": [{"from": "human", "value": "q"},)"
                       << R"( {"from": "gpt", "value": "a"}]})" << "\n";
  stage_.data.files.push_back(other);
  stage_.data.weights = {0.5, 4.0};
  const auto feed = Open({.seed = 5});
  ASSERT_TRUE(feed.ok()) << feed.status();
  ASSERT_EQ((*feed)->steps_per_epoch(), 3);  // of 10 and 4 rows
  Ids seen;
  for (int step = 0; step < 3; ++step) {
    const Ids ids = (*feed)->Next()->sample_ids;
    seen.insert(seen.end(), ids.begin(), ids.end());
  }
  EXPECT_EQ(seen.size(), 14u);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), "old"), 4);
}

// However many ranks and passes share a step, it has the same rows.
TEST_F(ConversationFeedTest, RanksAndPassesShareAStep) {
  const std::vector<Ids> whole = Passes({.seed = 5}, 4);
  std::vector<Ids> shared(whole.size());
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    const std::vector<Ids> parts = Passes({.seed = 5, .rank = rank, .ranks = 2, .passes = 3}, 12);
    for (std::size_t pass = 0; pass < parts.size(); ++pass) {
      Ids& step = shared[pass / 3];
      step.insert(step.end(), parts[pass].begin(), parts[pass].end());
      if (pass < 9) {
        EXPECT_EQ(parts[pass].size(), 1u) << "pass " << pass;
      }
    }
  }
  for (std::size_t step = 0; step < whole.size(); ++step) {
    EXPECT_EQ(Sorted(shared[step]), Sorted(whole[step])) << "step " << step;
  }
}

TEST_F(ConversationFeedTest, GoesOnWhereItStood) {
  const std::vector<Ids> whole = Passes({.seed = 5, .passes = 2}, 12);
  const std::vector<Ids> rest = Passes({.seed = 5, .first_step = 3, .passes = 2}, 6);
  EXPECT_EQ(rest, std::vector<Ids>(whole.begin() + 6, whole.end()));
  EXPECT_NE(Passes({.seed = 6, .passes = 2}, 12), whole);
}

// Rows with and without a picture: at most the last batch of an epoch has both.
TEST_F(ConversationFeedTest, GroupsWhereItIsAsked) {
  std::string pictures;
  for (int i = 0; i < 20; ++i) {
    absl::StrAppend(&pictures, R"({"id": "picture", "image": "a.png", "conversations": [)",
                    R"({"from": "human", "value": "<image>What?"}, )",
                    R"({"from": "gpt", "value": "a cat"}]})", "\n");
  }
  WriteRows(20, pictures);
  const auto mixed = [this] {
    int count = 0;
    for (const Ids& batch : Passes({.seed = 5}, 7)) {
      const auto with = std::count(batch.begin(), batch.end(), "picture");
      count += with > 0 && with < std::ssize(batch);
    }
    return count;
  };
  EXPECT_GT(mixed(), 1);
  stage_.data.group_by_length = true;
  EXPECT_LE(mixed(), 1);
}

TEST_F(ConversationFeedTest, MoreBadRowsThanAllowedAreAnError) {
  WriteRows(3, "{\"id\": \"bad\", \"conversations\": 7}\n");
  const absl::Status status = Open({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("stage tune: 1 of 4 rows are bad, more than max_bad_share 0.01 allows"));
  stage_.data.max_bad_share = 0.25;
  EXPECT_TRUE(Open({}).ok());
}

TEST_F(ConversationFeedTest, TheFirstRankSaysWhatIsLeftOut) {
  stage_.data.max_bad_share = 0.5;
  WriteRows(3, "{\"id\": \"bad\", \"conversations\": 7}\n");
  ASSERT_TRUE(Open({.rank = 1, .ranks = 2}).ok());
  EXPECT_TRUE(lines_.empty());
  ASSERT_TRUE(Open({.rank = 0, .ranks = 2}).ok());
  ASSERT_EQ(lines_.size(), 2u);
  EXPECT_THAT(lines_[0], HasSubstr("rows.jsonl:4: row 'bad': conversations"));
  EXPECT_EQ(lines_[1], "stage tune: 1 of 4 rows are bad and left out");
}

TEST_F(ConversationFeedTest, StopsAtABadRowWhereItIsAsked) {
  WriteRows(3, "{\"id\": \"bad\", \"conversations\": 7}\n");
  stage_.data.stop_on_bad_row = true;
  const absl::Status status = Open({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("row 'bad'"));
}

}  // namespace
}  // namespace llava::training
