#include "training/endpoint/pace.h"

#include <algorithm>
#include <chrono>

namespace llava::training {
namespace {

constexpr std::int64_t kGoodToGrow = 20;
constexpr std::int64_t kFailuresToRest = 20;
constexpr double kSecondsOfAMinute = 60;

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

Pace::Pace(const EndpointOptions& options) : options_(options), window_(options.max_in_flight) {
  requests_.per_second = options.requests_per_minute / kSecondsOfAMinute;
  requests_.level = options.requests_per_minute;
  tokens_.per_second = options.tokens_per_minute / kSecondsOfAMinute;
  tokens_.level = options.tokens_per_minute;
}

Duration Pace::Bucket::Wait(TimePoint now, double amount) {
  if (per_second == 0) return Duration::zero();
  const double full = per_second * kSecondsOfAMinute;
  if (filled_at != TimePoint{}) {
    level = std::min(full, level + per_second * Seconds(now - filled_at));
  }
  filled_at = now;
  const double needed =
      std::min(amount, full);  // what is larger than a minute's waits for a full one
  return level >= needed ? Duration::zero() : FromSeconds((needed - level) / per_second);
}

Duration Pace::TryBegin(TimePoint now, std::int64_t tokens) {
  if (now < not_before_) return not_before_ - now;
  if (in_flight_ >= (is_down() ? 1 : window_)) return kNoPlace;
  const auto amount = static_cast<double>(tokens);
  const Duration wait = std::max(requests_.Wait(now, 1), tokens_.Wait(now, amount));
  if (wait > Duration::zero()) return wait;
  requests_.Take(1);
  tokens_.Take(amount);
  ++in_flight_;
  return Duration::zero();
}

void Pace::Cut(TimePoint began, TimePoint now) {
  if (cut_.has_value() && began < *cut_) return;
  window_ = std::max<std::int64_t>(1, window_ / 2);
  cut_ = now;
  good_ = 0;
}

void Pace::End(TimePoint began, TimePoint now, Verdict verdict,
               std::optional<Duration> retry_after) {
  --in_flight_;
  if (retry_after.has_value()) not_before_ = std::max(not_before_, now + *retry_after);
  if (verdict == Verdict::kThrottled || verdict == Verdict::kUnwell) {
    Cut(began, now);
    if (!down_.has_value()) down_ = now;
    if (verdict == Verdict::kUnwell) ++failures_;
    if (is_down()) not_before_ = std::max(not_before_, now + FromSeconds(options_.probe_seconds));
    return;
  }
  failures_ = 0;
  down_.reset();
  if (verdict != Verdict::kGood || ++good_ < kGoodToGrow) return;
  good_ = 0;
  window_ = std::min(window_ + 1, options_.max_in_flight);
}

bool Pace::is_down() const { return failures_ >= kFailuresToRest; }

bool Pace::HasGivenUp(TimePoint now) const {
  const Duration patience = FromSeconds(options_.give_up_seconds);
  if (not_before_ > now + patience) return true;  // it asks for more than we have
  return down_.has_value() && now - *down_ >= patience;
}

}  // namespace llava::training
