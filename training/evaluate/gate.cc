#include "training/evaluate/gate.h"

#include <algorithm>
#include <cstddef>

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

}  // namespace

double ChanceOfLoss(const std::vector<bool>& before, const std::vector<bool>& after,
                    double min_delta) {
  LLAVA_CHECK_EQ(before.size(), after.size());
  if (before.empty()) return 0.0;
  std::vector<std::int8_t> changes;  // of each question: -1, 0 or 1
  for (std::size_t i = 0; i < before.size(); ++i) {
    changes.push_back(static_cast<std::int8_t>(int{after[i]} - int{before[i]}));
  }
  const auto questions = static_cast<std::int64_t>(changes.size());
  const double least = min_delta * static_cast<double>(questions);
  Rng rng(kSeed);
  int lost = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < questions; ++i) {
      sum += changes[static_cast<std::size_t>(rng.Between(0, questions - 1))];
    }
    if (static_cast<double>(sum) < least) ++lost;
  }
  return static_cast<double>(lost) / kDraws;
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
