#include "tests/bench/fleet/traffic.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace llava::fleet {
namespace {

constexpr double kDaySeconds = 3600;
constexpr int kPromptBegin = 35;  // the template's words before the picture

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

// Questions that a conversation has on average.
double MeanTurns(const TrafficOptions& options) {
  double turns = 0;
  double chance = 1;
  for (int i = 0; i < options.max_turns; ++i, chance *= options.goes_on) turns += chance;
  return turns;
}

}  // namespace

double Traffic::RateAt(TimePoint now) const {
  const double mean = options_.questions_per_second / MeanTurns(options_);
  const double second = Seconds(now.time_since_epoch());
  switch (options_.pattern) {
    case Pattern::kPoisson:
      return mean;
    case Pattern::kBursts:
      return mean * (std::fmod(second, 60) < 10 ? 3.0 : 0.6);  // the mean of both is 1
    case Pattern::kDay:
      return mean * (1 - 0.8 * std::cos(2 * M_PI * second / kDaySeconds));
  }
  return mean;
}

// A Poisson process with a changing rate, by thinning one with the highest rate.
TimePoint Traffic::NextArrival(TimePoint now) {
  const double highest = 3 * options_.questions_per_second / MeanTurns(options_);
  for (;;) {
    now += FromSeconds(rng_.Exponential(1 / highest));
    if (rng_.Chance(RateAt(now) / highest)) return now;
  }
}

int Traffic::Length(double mean, int most) {
  return std::min(most, 1 + static_cast<int>(rng_.Exponential(mean - 1)));
}

Conversation Traffic::Begin() {
  Conversation conversation;
  conversation.id = ++conversations_;
  const bool popular = rng_.Chance(options_.popular);
  // Few are asked about very often: the square of a uniform number.
  const double place = rng_.Uniform();
  conversation.picture = popular
                             ? static_cast<std::uint64_t>(place * place * options_.popular_pictures)
                             : 1'000'000 + conversation.id;
  conversation.tokens.assign(static_cast<std::size_t>(kPromptBegin + shape_.picture_tokens), 0);
  std::fill_n(conversation.tokens.begin(), kPromptBegin, 1);
  return conversation;
}

int Traffic::Ask(Conversation* conversation) {
  const int words = Length(options_.mean_question_tokens, 400);
  for (int i = 0; i < words; ++i) {
    conversation->tokens.push_back(static_cast<std::int32_t>(rng_.Between(100, 32'000)));
  }
  ++conversation->turns;
  return Length(options_.mean_answer_tokens, options_.max_answer_tokens);
}

std::unique_ptr<scheduling::Request> Traffic::ToRequest(const Conversation& conversation,
                                                        std::uint64_t id, int answer_tokens) const {
  auto request = std::make_unique<scheduling::Request>();
  request->id = scheduling::RequestId(id);
  request->prompt_ids = conversation.tokens;
  scheduling::ImageInput image;
  image.digest = Sha256Of(absl::StrCat("picture ", conversation.picture));
  image.offset = kPromptBegin;
  image.count = shape_.picture_tokens;
  request->images.push_back(std::move(image));
  request->sampling.max_tokens = answer_tokens;
  request->sampling.ignore_eos = true;
  return request;
}

bool Traffic::GoesOn(Conversation* conversation, int answer_tokens, Duration* think) {
  constexpr std::int32_t kAnswered = 7;  // what the replica samples
  conversation->tokens.insert(conversation->tokens.end(), static_cast<std::size_t>(answer_tokens),
                              kAnswered);
  *think = FromSeconds(rng_.Exponential(options_.think_seconds));
  return conversation->turns < options_.max_turns && rng_.Chance(options_.goes_on);
}

}  // namespace llava::fleet
