#include "training/data/length_grouped_sampler.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/rng.h"

namespace llava::training {
namespace {

using Indices = std::vector<std::int64_t>;

// One generator an epoch, so that an epoch can be made without those before it.
Rng EpochRng(std::uint64_t seed, std::int64_t epoch) {
  return Rng(seed ^ (static_cast<std::uint64_t>(epoch) * 0xD1342543DE82EF95u));
}

std::vector<Indices> Cut(const Indices& rows, std::int64_t size) {
  std::vector<Indices> pieces;
  for (std::size_t at = 0; at < rows.size(); at += static_cast<std::size_t>(size)) {
    const std::size_t end = std::min(rows.size(), at + static_cast<std::size_t>(size));
    pieces.emplace_back(rows.begin() + static_cast<std::ptrdiff_t>(at),
                        rows.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return pieces;
}

}  // namespace

LengthGroupedSampler::LengthGroupedSampler(std::vector<std::int32_t> lengths,
                                           SamplerOptions options)
    : lengths_(std::move(lengths)), options_(std::move(options)) {
  LLAVA_CHECK(!lengths_.empty());
  LLAVA_CHECK_GT(options_.global_batch, 0);
  for (const std::int32_t length : lengths_) LLAVA_CHECK_NE(length, 0);
  std::int64_t begin = 0;
  for (const RowShare& share : options_.shares) {
    LLAVA_CHECK_GT(share.end, begin);
    LLAVA_CHECK_GT(share.count, 0);
    begin = share.end;
  }
  LLAVA_CHECK(options_.shares.empty() || begin == std::ssize(lengths_));
}

std::int64_t LengthGroupedSampler::steps_per_epoch() const {
  const std::int64_t rows = RowsPerEpoch();
  return (rows + options_.global_batch - 1) / options_.global_batch;
}

const std::vector<std::int64_t>& LengthGroupedSampler::Batch(std::int64_t step) {
  LLAVA_CHECK_GE(step, 0);
  const std::int64_t epoch = step / steps_per_epoch();
  if (epoch != epoch_) {
    batches_ = MakeEpoch(epoch);
    epoch_ = epoch;
    LLAVA_CHECK_EQ(static_cast<std::int64_t>(batches_.size()), steps_per_epoch());
  }
  return batches_[static_cast<std::size_t>(step % steps_per_epoch())];
}

std::int64_t LengthGroupedSampler::RowsPerEpoch() const {
  if (options_.shares.empty()) return std::ssize(lengths_);
  std::int64_t rows = 0;
  for (const RowShare& share : options_.shares) rows += share.count;
  return rows;
}

// An epoch's rows in random order.
Indices LengthGroupedSampler::RowsOf(Rng& rng) const {
  Indices rows(lengths_.size());
  std::iota(rows.begin(), rows.end(), 0);
  if (!options_.shares.empty()) {
    Indices chosen;
    auto begin = rows.begin();
    for (const RowShare& share : options_.shares) {
      Indices own(begin, rows.begin() + share.end);
      rng.Shuffle(own);
      for (std::int64_t i = 0; i < share.count; ++i) chosen.push_back(own[i % std::ssize(own)]);
      begin = rows.begin() + share.end;
    }
    rows = std::move(chosen);
  }
  rng.Shuffle(rows);
  return rows;
}

// Random order within a modality, cut into pools of 50 batches that are sorted by length and cut
// into batches. What is left over of each modality ends up in the mixed batches at the end.
std::vector<Indices> LengthGroupedSampler::MakeEpoch(std::int64_t epoch) const {
  Rng rng = EpochRng(options_.seed, epoch);
  Indices rows = RowsOf(rng);
  if (options_.grouping == Grouping::kNone) return Cut(rows, options_.global_batch);

  const auto length = [this](std::int64_t row) {
    return std::abs(lengths_[static_cast<std::size_t>(row)]);
  };
  const auto longer = [&](std::int64_t a, std::int64_t b) { return length(a) > length(b); };
  const auto text = std::stable_partition(rows.begin(), rows.end(), [this](std::int64_t row) {
    return lengths_[static_cast<std::size_t>(row)] > 0;
  });
  constexpr std::int64_t kPoolBatches = 50;
  std::vector<Indices> batches;
  Indices rest;
  for (const Indices& modality : {Indices(rows.begin(), text), Indices(text, rows.end())}) {
    for (Indices& pool : Cut(modality, options_.global_batch * kPoolBatches)) {
      std::stable_sort(pool.begin(), pool.end(), longer);
      for (Indices& batch : Cut(pool, options_.global_batch)) {
        const bool full = static_cast<std::int64_t>(batch.size()) == options_.global_batch;
        if (full) {
          batches.push_back(std::move(batch));
        } else {
          rest.insert(rest.end(), batch.begin(), batch.end());
        }
      }
    }
  }
  rng.Shuffle(batches);
  std::stable_sort(rest.begin(), rest.end(), longer);
  for (Indices& batch : Cut(rest, options_.global_batch)) batches.push_back(std::move(batch));
  return batches;
}

std::vector<std::vector<std::int64_t>> SplitEvenly(const std::vector<std::int64_t>& batch,
                                                   const std::vector<std::int32_t>& lengths,
                                                   std::int64_t parts) {
  LLAVA_CHECK_GT(parts, 0);
  const auto length = [&](std::int64_t row) {
    return std::int64_t{std::abs(lengths[static_cast<std::size_t>(row)])};
  };
  Indices sorted = batch;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](std::int64_t a, std::int64_t b) { return length(a) > length(b); });
  std::vector<Indices> result(static_cast<std::size_t>(parts));
  std::vector<std::int64_t> total(result.size(), 0);
  // In rounds of one row a part: the longest rows go to the parts that have the least so far.
  std::vector<std::size_t> order(result.size());
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t at = 0; at < sorted.size(); at += order.size()) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return total[a] < total[b]; });
    for (std::size_t i = 0; i < order.size() && at + i < sorted.size(); ++i) {
      result[order[i]].push_back(sorted[at + i]);
      total[order[i]] += length(sorted[at + i]);
    }
  }
  return result;
}

}  // namespace llava::training
