#include "training/data/length_grouped_sampler.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>
#include <set>

#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using Indices = std::vector<std::int64_t>;

std::vector<std::int32_t> RandomLengths(Rng* rng, std::int64_t rows) {
  std::vector<std::int32_t> lengths;
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto words = static_cast<std::int32_t>(rng->Between(1, 300));
    lengths.push_back(rng->Chance(0.2) ? -words : words);
  }
  return lengths;
}

TEST(LengthGroupedSamplerTest, EveryEpochHasEveryRowOnce) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Rng rng(seed);
    const std::int64_t rows = rng.Between(1, 900);
    const SamplerOptions options{
        .global_batch = rng.Between(1, 17),
        .grouping = rng.Chance(0.5) ? Grouping::kNone : Grouping::kLengthAndModality,
        .seed = seed};
    LengthGroupedSampler sampler(RandomLengths(&rng, rows), options);
    for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
      std::multiset<std::int64_t> seen;
      for (std::int64_t i = 0; i < sampler.steps_per_epoch(); ++i) {
        const Indices batch = sampler.Batch(epoch * sampler.steps_per_epoch() + i);
        EXPECT_LE(static_cast<std::int64_t>(batch.size()), options.global_batch);
        EXPECT_FALSE(batch.empty()) << "seed " << seed;
        seen.insert(batch.begin(), batch.end());
      }
      EXPECT_EQ(static_cast<std::int64_t>(seen.size()), rows) << "seed " << seed;
      EXPECT_EQ(std::set<std::int64_t>(seen.begin(), seen.end()).size(), seen.size());
    }
  }
}

// New data twice, old data for a quarter, which is another one in each epoch.
TEST(LengthGroupedSamplerTest, SharesSayHowOftenRowsCome) {
  const SamplerOptions options{.global_batch = 7, .seed = 3, .shares = {{10, 20}, {50, 10}}};
  LengthGroupedSampler sampler(std::vector<std::int32_t>(50, 1), options);
  ASSERT_EQ(sampler.steps_per_epoch(), 5);  // of 30 rows
  std::set<std::int64_t> old;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    std::map<std::int64_t, int> times;
    for (std::int64_t step = 0; step < 5; ++step) {
      for (const std::int64_t row : sampler.Batch(5 * epoch + step)) ++times[row];
    }
    ASSERT_EQ(times.size(), 20u);
    for (const auto& [row, count] : times) {
      EXPECT_EQ(count, row < 10 ? 2 : 1) << row;
      if (row >= 10) old.insert(row);
    }
  }
  EXPECT_GT(old.size(), 15u);
}

TEST(LengthGroupedSamplerTest, AStepIsAPositionThatNeedsNoHistory) {
  Rng rng(3);
  const auto lengths = RandomLengths(&rng, 500);
  const SamplerOptions options{8, Grouping::kLengthAndModality, 11};
  LengthGroupedSampler forward(lengths, options);
  std::vector<Indices> batches;
  for (std::int64_t step = 0; step < 150; ++step) batches.push_back(forward.Batch(step));
  for (const std::int64_t step : {149, 0, 70, 63, 62}) {
    EXPECT_EQ(LengthGroupedSampler(lengths, options).Batch(step),
              batches[static_cast<std::size_t>(step)]);
  }
  EXPECT_NE(batches[0], batches[static_cast<std::size_t>(forward.steps_per_epoch())]);
  EXPECT_NE(LengthGroupedSampler(lengths, {8, Grouping::kLengthAndModality, 12}).Batch(0),
            batches[0]);
}

TEST(LengthGroupedSamplerTest, GroupsByModalityAndLength) {
  Rng rng(5);
  const auto lengths = RandomLengths(&rng, 2000);
  const auto spread = [&](Grouping grouping, std::int64_t* mixed) {
    LengthGroupedSampler sampler(lengths, {16, grouping, 1});
    std::int64_t sum = 0;
    for (std::int64_t step = 0; step < sampler.steps_per_epoch(); ++step) {
      const Indices& batch = sampler.Batch(step);
      std::set<bool> modalities;
      int low = 1000, high = 0;
      for (const std::int64_t row : batch) {
        const std::int32_t length = lengths[static_cast<std::size_t>(row)];
        modalities.insert(length > 0);
        low = std::min(low, std::abs(length));
        high = std::max(high, std::abs(length));
      }
      *mixed += modalities.size() > 1 ? 1 : 0;
      sum += high - low;
    }
    return sum;
  };
  std::int64_t grouped_mixed = 0, plain_mixed = 0;
  const std::int64_t grouped = spread(Grouping::kLengthAndModality, &grouped_mixed);
  const std::int64_t plain = spread(Grouping::kNone, &plain_mixed);
  EXPECT_LE(grouped_mixed, 2);  // only what is left over at the end
  EXPECT_GT(plain_mixed, 50);
  EXPECT_LT(grouped * 10, plain);
}

TEST(SplitEvenlyTest, DealsEveryRowOnceWithNearEqualTotals) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Rng rng(seed);
    const auto lengths = RandomLengths(&rng, 64);
    Indices batch(static_cast<std::size_t>(rng.Between(0, 64)));
    std::iota(batch.begin(), batch.end(), 0);
    rng.Shuffle(batch);
    const std::int64_t parts = rng.Between(1, 8);
    const auto split = SplitEvenly(batch, lengths, parts);
    ASSERT_EQ(static_cast<std::int64_t>(split.size()), parts);
    Indices all;
    std::int64_t low = 1 << 30, high = 0;
    for (const Indices& part : split) {
      all.insert(all.end(), part.begin(), part.end());
      std::int64_t total = 0;
      for (const std::int64_t row : part) total += std::abs(lengths[static_cast<std::size_t>(row)]);
      low = std::min(low, total);
      high = std::max(high, total);
      EXPECT_LE(static_cast<std::int64_t>(part.size()),
                (static_cast<std::int64_t>(batch.size()) + parts - 1) / parts);
    }
    EXPECT_LE(high - low, 300) << "seed " << seed;  // one row's length
    std::sort(all.begin(), all.end());
    std::sort(batch.begin(), batch.end());
    EXPECT_EQ(all, batch);
  }
}

TEST(LengthGroupedSamplerTest, AGroupedBatchBeginsWithItsLongestRow) {
  Rng rng(9);
  const auto lengths = RandomLengths(&rng, 200);
  LengthGroupedSampler sampler(lengths, {8, Grouping::kLengthAndModality, 1});
  for (std::int64_t step = 0; step < sampler.steps_per_epoch(); ++step) {
    int before = 1000;
    for (const std::int64_t row : sampler.Batch(step)) {
      const int length = std::abs(lengths[static_cast<std::size_t>(row)]);
      EXPECT_LE(length, before) << "step " << step;
      before = length;
    }
  }
}

// Long batches come at any time, not all at the beginning.
TEST(LengthGroupedSamplerTest, GroupedBatchesComeInRandomOrder) {
  std::vector<std::int32_t> lengths(400);
  std::iota(lengths.begin(), lengths.end(), 1);
  LengthGroupedSampler sampler(lengths, {8, Grouping::kLengthAndModality, 1});
  std::vector<std::int64_t> first_rows;
  for (std::int64_t step = 0; step < 50; ++step) first_rows.push_back(sampler.Batch(step)[0]);
  EXPECT_FALSE(std::is_sorted(first_rows.begin(), first_rows.end()));
  EXPECT_FALSE(std::is_sorted(first_rows.rbegin(), first_rows.rend()));
}

TEST(SplitEvenlyTest, TheNextLongestRowGoesToThePartThatHasTheLeast) {
  EXPECT_EQ(SplitEvenly({0, 1, 2, 3}, {8, 7, -2, 1}, 2), (std::vector<Indices>{{0, 3}, {1, 2}}));
  EXPECT_EQ(SplitEvenly({0, 1, 2, 3, 4}, {1, 9, 3, 5, -7}, 2),
            (std::vector<Indices>{{1, 2}, {4, 3, 0}}));
}

}  // namespace
}  // namespace llava::training
