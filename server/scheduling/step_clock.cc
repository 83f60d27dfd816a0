#include "server/scheduling/step_clock.h"

#include <algorithm>
#include <limits>

namespace llava::scheduling {

StepShape StepClock::ShapeWith(int start, int count) const {
  return {plan_->total_tokens + count, plan_->total_keys + KeysOf(start, count)};
}

// Seconds beside what is planned and the `count` tokens from `start` on.
double StepClock::Left(int start, int count) {
  // Asked for the first time, the plan holds the decodes alone.
  if (limit_ < 0) limit_ = std::max(step_, times_->Forward(ShapeWith(0, 0)) + step_ / 2);
  return limit_ - encode_ - times_->Forward(ShapeWith(start, count));
}

int StepClock::Tokens(int start) {
  if (!bounded_) return std::numeric_limits<int>::max();
  if (!times_->KnowsPrompts()) return worked_ ? 0 : StepTimes::kFirstTokens;
  const int tokens = times_->PromptTokens(start, Left(0, 0));
  return worked_ ? tokens : std::max(tokens, kLeastTokens);
}

std::int64_t StepClock::Parts(int start, int count) {
  if (!bounded_) return std::numeric_limits<std::int64_t>::max();
  const double left = Left(start, count);
  const std::int64_t parts = left > 0 ? times_->Parts(left) : 0;
  return worked_ || count > 0 ? parts : std::max<std::int64_t>(parts, 1);
}

void StepClock::Encodes(std::int64_t parts) {
  if (times_ != nullptr) encode_ += times_->OfParts(parts);
  worked_ = true;
}

void StepClock::PromptPlanned() {
  worked_ = true;
  if (bounded_ || times_ == nullptr) return;
  bounded_ = true;
  limit_ = step_;
}

}  // namespace llava::scheduling
