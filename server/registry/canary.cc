#include "server/registry/canary.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace llava::registry {
namespace {

constexpr std::size_t kRepeatedBytes = 256;
constexpr std::size_t kLongestPeriod = 64;
// Two shares of few answers differ by chance: one bad answer is not yet a difference.
constexpr std::int64_t kMinCount = 2;

}  // namespace

void CanaryJudge::Tally::Add(const Observation& observation) {
  ++answers;
  if (observation.failed) ++failed;
  if (observation.empty || observation.degenerate) ++bad;
  if (observation.first_token_seconds > 0) {
    ++first_tokens;
    first_seconds += observation.first_token_seconds;
  }
  if (observation.next_token_seconds > 0) {
    ++next_tokens;
    next_seconds += observation.next_token_seconds;
  }
}

double CanaryJudge::Tally::Share(std::int64_t count) const {
  return answers == 0 ? 0 : static_cast<double>(count) / static_cast<double>(answers);
}

Verdict CanaryJudge::Judge(TimePoint now, std::string* reason) const {
  if (canary_.answers >= options_.min_answers && IsWorse(reason)) return Verdict::kRollBack;
  if (canary_.answers >= options_.enough_answers) {
    *reason = absl::StrCat("not worse than the live version over ", canary_.answers, " answers");
    return Verdict::kPromote;
  }
  if (now - start_ >= options_.longest) {
    *reason = absl::StrCat("not worse than the live version for ", Seconds(options_.longest),
                           " s (", canary_.answers, " answers)");
    return Verdict::kPromote;
  }
  return Verdict::kWait;
}

bool CanaryJudge::IsWorse(std::string* reason) const {
  const double failed = canary_.Share(canary_.failed);
  const double live_failed = live_.Share(live_.failed);
  if (canary_.failed >= kMinCount && failed > live_failed + options_.more_failures) {
    *reason = absl::StrCat("error rate ", failed, ", live ", live_failed, ", over ",
                           canary_.answers, " answers");
    return true;
  }
  const double bad = canary_.Share(canary_.bad);
  const double live_bad = live_.Share(live_.bad);
  if (canary_.bad >= kMinCount && bad > live_bad + options_.more_bad_answers) {
    *reason = absl::StrCat("empty or degenerate answers ", bad, ", live ", live_bad, ", over ",
                           canary_.answers, " answers");
    return true;
  }
  if (IsSlower(canary_.first_seconds, canary_.first_tokens, live_.first_seconds,
               live_.first_tokens)) {
    *reason = absl::StrCat("time to first token is over ", options_.slower, " times the live one");
    return true;
  }
  if (IsSlower(canary_.next_seconds, canary_.next_tokens, live_.next_seconds, live_.next_tokens)) {
    *reason = absl::StrCat("inter-token time is over ", options_.slower, " times the live one");
    return true;
  }
  return false;
}

// Compares means, and only when both sides have enough to compare.
bool CanaryJudge::IsSlower(double canary_seconds, std::int64_t canary_count, double live_seconds,
                           std::int64_t live_count) const {
  if (canary_count < options_.min_answers || live_count < options_.min_answers) return false;
  const double canary_mean = canary_seconds / static_cast<double>(canary_count);
  const double live_mean = live_seconds / static_cast<double>(live_count);
  return canary_mean > options_.slower * live_mean;
}

bool IsDegenerate(const std::string& text) {
  if (text.size() < kRepeatedBytes) return false;
  const std::size_t start = text.size() - kRepeatedBytes;
  for (std::size_t period = 1; period <= kLongestPeriod; ++period) {
    if (std::equal(text.begin() + static_cast<std::ptrdiff_t>(start + period), text.end(),
                   text.begin() + static_cast<std::ptrdiff_t>(start))) {
      return true;
    }
  }
  return false;
}

}  // namespace llava::registry
