// What people ask: conversations about pictures. A first question brings a picture, which may be
// one that many ask about; who goes on sends everything that was said before once more.
#ifndef LLAVA_TESTS_BENCH_FLEET_TRAFFIC_H_
#define LLAVA_TESTS_BENCH_FLEET_TRAFFIC_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/rng.h"
#include "server/scheduling/request.h"
#include "tests/bench/fleet/virtual_gpu.h"

namespace llava::fleet {

// The rate of first questions over time, around its mean.
enum class Pattern {
  kPoisson,  // independent people
  kBursts,   // of every minute ten seconds have five times the rate of the others
  kDay,      // a sine over an hour of virtual time, from a fifth to nine fifths of the mean
};

struct TrafficOptions {
  double questions_per_second = 1;  // first and further ones together
  Pattern pattern = Pattern::kPoisson;
  double goes_on = 0.6;       // after each answer
  double think_seconds = 15;  // mean, between an answer and the next question
  int max_turns = 8;
  double popular = 0.2;  // pictures that are one of `popular_pictures`
  int popular_pictures = 50;
  double mean_question_tokens = 40;
  double mean_answer_tokens = 120;
  int max_answer_tokens = 400;
};

struct Conversation {
  std::uint64_t id = 0;
  std::uint64_t picture = 0;
  std::vector<std::int32_t> tokens;  // prompt and answers so far; pictures' ids are 0
  int turns = 0;
};

class Traffic {
 public:
  Traffic(const TrafficOptions& options, const ModelShape& shape, std::uint64_t seed)
      : options_(options), shape_(shape), rng_(seed) {}

  // The time of the next first question after `now`.
  TimePoint NextArrival(TimePoint now);
  Conversation Begin();
  // Puts the next question behind the others; how long its answer will be, in tokens.
  int Ask(Conversation* conversation);
  // The conversation as a request, without version and arrival.
  std::unique_ptr<scheduling::Request> ToRequest(const Conversation& conversation, std::uint64_t id,
                                                 int answer_tokens) const;
  // Takes the answer in; whether there is a further question, and after how long.
  bool GoesOn(Conversation* conversation, int answer_tokens, Duration* think);

 private:
  double RateAt(TimePoint now) const;  // of first questions
  int Length(double mean, int most);

  const TrafficOptions options_;
  const ModelShape shape_;
  Rng rng_;
  std::uint64_t conversations_ = 0;
};

}  // namespace llava::fleet

#endif  // LLAVA_TESTS_BENCH_FLEET_TRAFFIC_H_
