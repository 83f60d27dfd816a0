#include "training/data/prefetcher.h"

#include <atomic>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int32_t kX = kIgnoreLabel;

Sample MakeSample(std::string id, std::vector<std::int32_t> labels) {
  Sample sample;
  sample.id = std::move(id);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    sample.ids.push_back(labels[i] == kX ? 100 + static_cast<std::int32_t>(i) : labels[i]);
  }
  sample.labels = std::move(labels);
  return sample;
}

TEST(CollatorTest, ShiftsTargetsWithinEachSample) {
  std::vector<Sample> samples;
  samples.push_back(MakeSample("a", {kX, 5, 6}));
  samples.push_back(MakeSample("b", {kX, kX, 7, 8}));
  samples[1].image_spans = {{1, 1, 0}};
  samples[1].images.resize(1);
  samples[1].truncated_tokens = 2;
  const Batch batch = Collate(std::move(samples));
  EXPECT_THAT(batch.ids, ElementsAre(100, 5, 6, 100, 101, 7, 8));
  EXPECT_THAT(batch.targets, ElementsAre(5, 6, kX, kX, 7, 8, kX));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 2, 0, 1, 2, 3));
  EXPECT_THAT(batch.sequence_starts, ElementsAre(0, 3, 7));
  EXPECT_THAT(batch.image_spans, ElementsAre(ImageSpan{4, 1, 0}));
  EXPECT_THAT(batch.sample_ids, ElementsAre("a", "b"));
  EXPECT_EQ(batch.stats,
            (BatchStats{
                .samples = 2, .tokens = 7, .label_tokens = 4, .image_tokens = 1, .truncated = 1}));
}

TEST(CollatorTest, EachNumberOfTheStatsAddsUp) {
  BatchStats sum{.samples = 1,
                 .tokens = 2,
                 .label_tokens = 3,
                 .image_tokens = 4,
                 .truncated = 5,
                 .masked = 6,
                 .bad = 7,
                 .padding = 8};
  sum += sum;
  EXPECT_EQ(sum, (BatchStats{.samples = 2,
                             .tokens = 4,
                             .label_tokens = 6,
                             .image_tokens = 8,
                             .truncated = 10,
                             .masked = 12,
                             .bad = 14,
                             .padding = 16}));
}

TEST(CollatorTest, LeavesOutAndCountsSamplesThatTeachNothing) {
  std::vector<Sample> samples;
  samples.push_back(MakeSample("masked", {kX, kX}));
  samples.push_back(MakeSample("only the first", {5, kX}));  // nothing predicts position 0
  samples.push_back(MakeSample("empty", {}));
  const Batch batch = Collate(std::move(samples));
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.stats.masked, 3);
  EXPECT_THAT(batch.sequence_starts, ElementsAre(0));
}

// One token a row: its id. Rows whose id is divisible by 10 are "broken".
class FakeBuilder : public SampleBuilder {
 public:
  absl::StatusOr<std::vector<Sample>> Build(const Row& row) const override {
    ++built;
    const int id = std::stoi(row.id);
    if (id % 10 == 0) return absl::InvalidArgumentError("x.png: not a picture");
    return std::vector<Sample>{MakeSample(row.id, {kX, id})};
  }
  mutable std::atomic<int> built = 0;
};

class PrefetcherTest : public ::testing::Test {
 protected:
  PrefetcherTest() : data_(Make()) {}

  InstructionDataset Make() {
    const std::string path = dir_.path() + "/d.jsonl";
    std::ofstream out(path);
    for (int i = 1; i <= 100; ++i) {
      out << R"({"id": )" << i << R"(, "conversations": [{"from":"human","value":"q"},)"
          << R"({"from":"gpt","value":"a"}]})" << "\n";
    }
    out.close();
    return *InstructionDataset::Open({path}, {});
  }

  static std::optional<std::vector<std::int64_t>> FourRows(std::int64_t n) {
    if (n >= 25) return std::nullopt;
    return std::vector<std::int64_t>{4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3};
  }

  test::TempDir dir_;
  InstructionDataset data_;
  FakeBuilder builder_;
};

TEST_F(PrefetcherTest, KeepsTheOrderWhateverTheWorkersDo) {
  for (const int workers : {1, 4}) {
    std::vector<std::string> bad;
    PrefetcherOptions options{.workers = workers, .ahead = 3};
    options.on_bad = [&](const std::string& line) { bad.push_back(line); };
    Prefetcher prefetcher(data_, builder_, FourRows, options);
    std::vector<std::string> ids;
    BatchStats stats;
    for (;;) {
      auto batch = prefetcher.Next();
      if (!batch.ok()) {
        EXPECT_EQ(batch.status().code(), absl::StatusCode::kOutOfRange);
        break;
      }
      ids.insert(ids.end(), batch->sample_ids.begin(), batch->sample_ids.end());
      stats += batch->stats;
    }
    EXPECT_EQ(stats.samples, 90);
    EXPECT_EQ(stats.bad, 10);
    std::vector<std::string> expected;
    for (int i = 1; i <= 100; ++i) {
      if (i % 10 != 0) expected.push_back(absl::StrCat(i));
    }
    EXPECT_EQ(ids, expected);
    ASSERT_EQ(bad.size(), 1u);  // it is the same picture in all of them
    EXPECT_THAT(bad[0], HasSubstr("0': x.png: not a picture"));
  }
}

TEST_F(PrefetcherTest, StopsAtABadRowWhenAsked) {
  Prefetcher prefetcher(data_, builder_, FourRows, {.on_bad_row = OnBadRow::kStop});
  EXPECT_TRUE(prefetcher.Next().ok());
  EXPECT_TRUE(prefetcher.Next().ok());
  EXPECT_THAT(prefetcher.Next().status().message(), HasSubstr("row '10'"));
}

TEST_F(PrefetcherTest, EndsWhenMoreRowsAreBadThanAllowed) {
  Prefetcher prefetcher(data_, builder_, FourRows, {.workers = 1, .most_bad = 1});
  absl::Status status;
  int batches = 0;
  for (; status.ok(); ++batches) status = prefetcher.Next().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("2 rows were read and are bad, more than max_bad_share"));
  EXPECT_THAT(status.message(), HasSubstr("row '20'"));
  EXPECT_EQ(batches, 5);
}

TEST_F(PrefetcherTest, NeverHasMoreThanItsBoundAhead) {
  std::atomic<std::int64_t> planned = 0;
  const auto plan = [&](std::int64_t n) {
    planned = n + 1;
    return FourRows(n);
  };
  Prefetcher prefetcher(data_, builder_, plan, {.workers = 3, .ahead = 2});
  for (std::int64_t taken = 1; taken <= 25; ++taken) {
    ASSERT_TRUE(prefetcher.Next().ok());
    EXPECT_LE(planned, taken + 2);
  }
}

TEST_F(PrefetcherTest, CanBeDroppedWhileItWorks) {
  for (int i = 0; i < 20; ++i) Prefetcher prefetcher(data_, builder_, FourRows, {});
}

}  // namespace
}  // namespace llava::training
