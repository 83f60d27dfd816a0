#include "server/registry/canary.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace llava::registry {
namespace {

constexpr std::size_t kRepeatedBytes = 24;
constexpr std::size_t kRepeats = 6;
constexpr std::size_t kLongestPeriod = 64;
constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD
// Two shares of few answers differ by chance: one bad answer is not yet a difference.
constexpr std::int64_t kMinCount = 2;
// Answers whose times are compared: more than a canary needs to be judged, few enough to sort.
constexpr std::size_t kMaxTimes = 512;
constexpr std::size_t kTrimmedPart = 10;  // the longest tenth of the times is left out

bool IsRepetitive(const std::string& text) {
  for (std::size_t period = 1; period <= kLongestPeriod && 2 * period <= text.size(); ++period) {
    std::size_t repeated = period;
    while (repeated < text.size() &&
           text[text.size() - 1 - repeated] == text[text.size() - 1 - repeated + period]) {
      ++repeated;
    }
    if (repeated >= std::max(kRepeatedBytes, kRepeats * period)) return true;
  }
  return false;
}

bool IsGarbled(const std::string& text) {
  const std::size_t replaced = text.find(kReplacement);
  if (replaced != text.npos && replaced + std::strlen(kReplacement) < text.size()) return true;
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t' && c != '\n' && c != '\r') || byte == 0x7F;
  });
}

Judgement RollBack(const char* cause, std::string reason) {
  return {Verdict::kRollBack, cause, std::move(reason), /*only_late=*/false};
}

}  // namespace

void CanaryJudge::Mean::Add(double value) {
  sum += value;
  ++count;
}

void CanaryJudge::Times::Add(double seconds) {
  if (seconds_.size() < kMaxTimes) {
    seconds_.push_back(seconds);
    return;
  }
  seconds_[next_] = seconds;
  next_ = (next_ + 1) % kMaxTimes;
}

double CanaryJudge::Times::TrimmedMean() const {
  if (seconds_.empty()) return 0;
  std::vector<double> sorted = seconds_;
  const auto kept = sorted.size() - sorted.size() / kTrimmedPart;
  const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(kept);
  std::nth_element(sorted.begin(), end - 1, sorted.end());
  return std::accumulate(sorted.begin(), end, 0.0) / static_cast<double>(kept);
}

void CanaryJudge::Tally::Add(const Observation& observation) {
  ++answers;
  if (observation.failed) ++failed;
  if (observation.failed && observation.late) ++late;
  if (observation.empty || observation.degenerate) ++bad;
  if (observation.endless) ++endless;
  if (observation.first_token_seconds > 0) first_seconds.Add(observation.first_token_seconds);
  if (observation.next_token_seconds > 0) next_seconds.Add(observation.next_token_seconds);
  if (observation.mean_logprob) logprob.Add(*observation.mean_logprob);
}

double CanaryJudge::Tally::Share(std::int64_t count) const {
  return answers == 0 ? 0 : static_cast<double>(count) / static_cast<double>(answers);
}

// When the time is over, less than min_answers must do: what spoke against it speaks.
Judgement CanaryJudge::Judge(TimePoint now) const {
  const bool time_is_over = now - start_ >= options_.longest;
  if (canary_.answers >= options_.min_answers || time_is_over) {
    if (auto worse = Worse()) return *worse;
  }
  if (canary_.answers >= options_.enough_answers) {
    return {Verdict::kPromote, "answers",
            absl::StrCat("not worse than the live version over ", canary_.answers, " answers")};
  }
  if (time_is_over) {
    return {Verdict::kPromote, "time",
            absl::StrCat("not worse than the live version for ", Seconds(options_.longest), " s (",
                         canary_.answers, " answers)")};
  }
  return {};
}

bool CanaryJudge::FailsMore(std::int64_t canary_failed, std::int64_t live_failed) const {
  return canary_failed >= kMinCount &&
         canary_.Share(canary_failed) > live_.Share(live_failed) + options_.more_failures;
}

// What time alone says comes last: whatever else speaks against the canary is final.
std::optional<Judgement> CanaryJudge::Worse() const {
  const bool fails_more = FailsMore(canary_.failed, live_.failed);
  const auto failures = [this] {
    return RollBack("failures", absl::StrCat("error rate ", canary_.Share(canary_.failed),
                                             ", live ", live_.Share(live_.failed), ", over ",
                                             canary_.answers, " answers"));
  };
  if (fails_more && FailsMore(canary_.failed - canary_.late, live_.failed - live_.late)) {
    return failures();
  }
  const double bad = canary_.Share(canary_.bad);
  const double live_bad = live_.Share(live_.bad);
  if (canary_.bad >= kMinCount && bad > live_bad + options_.more_bad_answers) {
    return RollBack("bad_answers", absl::StrCat("empty or degenerate answers ", bad, ", live ",
                                                live_bad, ", over ", canary_.answers, " answers"));
  }
  if (auto endless = Endless()) return endless;
  if (auto unsure = LessSure()) return unsure;
  std::optional<Judgement> late;
  if (fails_more) late = failures();
  if (!late) {
    late = Slower("slow_first_token", "time to first token", canary_.first_seconds,
                  live_.first_seconds);
  }
  if (!late) {
    late = Slower("slow_next_token", "inter-token time", canary_.next_seconds, live_.next_seconds);
  }
  if (late) late->only_late = true;
  return late;
}

// Compares means, and only when both sides have enough to compare.
std::optional<Judgement> CanaryJudge::Slower(const char* cause, const char* what,
                                             const Times& canary, const Times& live) const {
  if (canary.count() < options_.min_answers || live.count() < options_.min_answers) return {};
  if (canary.TrimmedMean() <= options_.slower * live.TrimmedMean()) return {};
  return RollBack(cause, absl::StrCat(what, " ", canary.TrimmedMean(), " s, live ",
                                      live.TrimmedMean(), " s, over ", canary.count(), " answers"));
}

std::optional<Judgement> CanaryJudge::Endless() const {
  if (canary_.answers < options_.min_answers || live_.answers < options_.min_answers) return {};
  const double canary = canary_.Share(canary_.endless);
  const double live = live_.Share(live_.endless);
  if (canary <= live + options_.more_endless) return {};
  return RollBack("endless_answers",
                  absl::StrCat("answers that went on until max_tokens ", canary, ", live ", live,
                               ", over ", canary_.answers, " answers"));
}

std::optional<Judgement> CanaryJudge::LessSure() const {
  if (canary_.logprob.count < options_.min_answers || live_.logprob.count < options_.min_answers) {
    return {};
  }
  const double canary = std::exp(canary_.logprob.value());
  const double live = std::exp(live_.logprob.value());
  if (canary >= options_.less_sure * live) return {};
  return RollBack("less_sure", absl::StrCat("it gives its own words a probability of ", canary,
                                            " a token, live ", live, ", over ",
                                            canary_.logprob.count, " answers"));
}

bool IsDegenerate(const std::string& text) { return IsRepetitive(text) || IsGarbled(text); }

}  // namespace llava::registry
