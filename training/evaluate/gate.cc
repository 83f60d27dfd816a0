#include "training/evaluate/gate.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/rng.h"

namespace llava::training {
namespace {

constexpr int kDraws = 4000;
constexpr std::uint64_t kSeed = 42;

double Share(const std::vector<bool>& right) {
  if (right.empty()) return 0.0;
  return static_cast<double>(std::count(right.begin(), right.end(), true)) /
         static_cast<double>(right.size());
}

// Of each question: -1, 0 or 1.
std::vector<std::int8_t> Changes(const std::vector<bool>& before, const std::vector<bool>& after) {
  LLAVA_CHECK_EQ(before.size(), after.size());
  std::vector<std::int8_t> changes;
  for (std::size_t i = 0; i < before.size(); ++i) {
    changes.push_back(static_cast<std::int8_t>(int{after[i]} - int{before[i]}));
  }
  return changes;
}

// The sums of kDraws draws of as many values, with replacement. REQUIRES: there are values.
std::vector<std::int64_t> DrawSums(const std::vector<std::int8_t>& values) {
  const std::int64_t count = std::ssize(values);
  Rng rng(kSeed);
  std::vector<std::int64_t> sums(kDraws, 0);
  for (std::int64_t& sum : sums) {
    for (std::int64_t i = 0; i < count; ++i) {
      sum += values[static_cast<std::size_t>(rng.Between(0, count - 1))];
    }
  }
  return sums;
}

Estimate EstimateOf(const std::vector<std::int8_t>& values) {
  if (values.empty()) return {};
  const auto count = static_cast<double>(values.size());
  std::vector<std::int64_t> sums = DrawSums(values);
  std::sort(sums.begin(), sums.end());
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {sum / count, static_cast<double>(sums[kDraws / 40]) / count,
          static_cast<double>(sums[kDraws - 1 - kDraws / 40]) / count};
}

}  // namespace

double ChanceOfLoss(const std::vector<bool>& before, const std::vector<bool>& after,
                    double min_delta) {
  const std::vector<std::int8_t> changes = Changes(before, after);
  if (changes.empty()) return 0.0;
  const double least = min_delta * static_cast<double>(changes.size());
  const std::vector<std::int64_t> sums = DrawSums(changes);
  const auto lost = std::count_if(sums.begin(), sums.end(), [least](std::int64_t sum) {
    return static_cast<double>(sum) < least;
  });
  return static_cast<double>(lost) / kDraws;
}

Estimate EstimateShare(const std::vector<bool>& right) {
  return EstimateOf(Changes(std::vector<bool>(right.size(), false), right));
}

Estimate EstimateChange(const std::vector<bool>& before, const std::vector<bool>& after) {
  return EstimateOf(Changes(before, after));
}

std::string BelowRequired(const GateOptions& options, const std::map<std::string, double>& shares) {
  for (const auto& [kind, least] : options.require) {
    const auto found = shares.find(kind);
    if (found == shares.end()) return absl::StrCat(kind, " was not asked, required is ", least);
    if (found->second < least) {
      return absl::StrCat(kind, " is ", found->second, ", required is ", least);
    }
  }
  return "";
}

std::string WorseThanLive(const GateOptions& options, const std::vector<bool>& before,
                          const std::vector<bool>& after) {
  const double chance = ChanceOfLoss(before, after, options.min_delta);
  if (chance < options.confidence || before.empty()) return "";
  return absl::StrFormat(
      "right answers went from %.2f%% to %.2f%% of %d questions: with a probability of %.3f (%.3f "
      "suffices) that is a change below %+.2f points",
      100 * Share(before), 100 * Share(after), before.size(), chance, options.confidence,
      100 * options.min_delta);
}

}  // namespace llava::training
