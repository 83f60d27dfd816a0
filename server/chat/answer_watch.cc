#include "server/chat/answer_watch.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "base/clock.h"

namespace llava::api {
namespace {

// Enough for registry::IsDegenerate.
constexpr std::size_t kTailBytes = 1024;

bool IsTheServersFault(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kResourceExhausted:  // out of device memory: it had been accepted
    case absl::StatusCode::kDeadlineExceeded:
      return true;
    default:
      return false;
  }
}

}  // namespace

void AnswerWatch::Add(const engine::Delta& delta) {
  const auto index = static_cast<std::size_t>(delta.choice);
  if (choices_.size() <= index) choices_.resize(index + 1);
  Choice& choice = choices_[index];
  choice.tail += delta.text;
  if (choice.tail.size() > 2 * kTailBytes) choice.tail.erase(0, choice.tail.size() - kTailBytes);
  if (delta.finish != scheduling::FinishReason::kNone) choice.finish = delta.finish;
  for (const SampledToken& token : delta.tokens) {
    ++tokens_;
    logprobs_ += token.logprob;
  }
}

std::optional<registry::Observation> AnswerWatch::Observe(const absl::Status& status,
                                                          const scheduling::Usage& usage) const {
  registry::Observation observation;
  if (!status.ok()) {
    observation.failed = true;
    observation.late = absl::IsDeadlineExceeded(status);
    if (!IsTheServersFault(status)) return std::nullopt;
    return observation;
  }
  for (const Choice& choice : choices_) {
    if (choice.finish != scheduling::FinishReason::kNone &&
        absl::StripAsciiWhitespace(choice.tail).empty()) {
      observation.empty = true;
    }
    if (registry::IsDegenerate(choice.tail)) observation.degenerate = true;
    if (choice.finish == scheduling::FinishReason::kLength) observation.endless = true;
  }
  // Versions take turns, step by step. One that answers few requests waits for the others' steps
  // in nearly every answer, the live one hardly ever: what they took is not its own slowness. A
  // prompt that was mostly in the prefix cache says nothing: a new version's cache is cold.
  if (2 * usage.cached_tokens < usage.prompt_tokens) {
    const Duration first = usage.queue + usage.encode + usage.prefill - usage.others_first;
    observation.first_token_seconds = std::max(0.0, Seconds(first));
  }
  const auto gaps = usage.generated_tokens - static_cast<int>(choices_.size());
  if (gaps > 0) {
    const double decode = std::max(0.0, Seconds(usage.decode - usage.others_next));
    observation.next_token_seconds =
        decode * static_cast<double>(choices_.size()) / static_cast<double>(gaps);
  }
  if (has_logprobs_ && tokens_ > 0) {
    observation.mean_logprob = logprobs_ / static_cast<double>(tokens_);
  }
  return observation;
}

}  // namespace llava::api
