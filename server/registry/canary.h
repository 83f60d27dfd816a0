// Is the new version worse? Answers of the canary are compared with those of the live version over
// the same time, and a verdict falls as soon as enough of them are in.
#ifndef LLAVA_SERVER_REGISTRY_CANARY_H_
#define LLAVA_SERVER_REGISTRY_CANARY_H_

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace llava::registry {

// One finished answer.
struct Observation {
  bool failed = false;             // the server's fault: INTERNAL, or out of device memory
  bool empty = false;              // ended at once, without text
  bool degenerate = false;         // mostly a repetition of itself (IsDegenerate)
  double first_token_seconds = 0;  // 0: none
  double next_token_seconds = 0;   // the mean of the answer's inter-token times; 0: none
};

struct CanaryOptions {
  double traffic = 0.1;               // share of the tenants, [0, 1]; 0: no canary, live at once
  std::int64_t min_answers = 20;      // of the canary, before any verdict
  std::int64_t enough_answers = 200;  // of the canary: good if nothing spoke against it
  Duration longest = std::chrono::minutes(10);  // the same after this time
  double more_failures = 0.02;                  // share of answers above the live version's
  double more_bad_answers = 0.05;  // empty or degenerate; share above the live version's
  double slower = 1.5;             // times the live version's mean first- or next-token time
};

enum class Verdict : std::uint8_t { kWait, kPromote, kRollBack };

// Not thread-safe.
class CanaryJudge {
 public:
  CanaryJudge(const CanaryOptions& options, TimePoint start) : options_(options), start_(start) {}

  void AddCanary(const Observation& observation) { canary_.Add(observation); }
  void AddLive(const Observation& observation) { live_.Add(observation); }

  // `reason` (not null) says why for kRollBack and kPromote.
  Verdict Judge(TimePoint now, std::string* reason) const;

 private:
  struct Tally {
    std::int64_t answers = 0;
    std::int64_t failed = 0;
    std::int64_t bad = 0;
    std::int64_t first_tokens = 0;
    std::int64_t next_tokens = 0;
    double first_seconds = 0;
    double next_seconds = 0;

    void Add(const Observation& observation);
    double Share(std::int64_t count) const;
  };
  bool IsWorse(std::string* reason) const;
  bool IsSlower(double canary_seconds, std::int64_t canary_count, double live_seconds,
                std::int64_t live_count) const;

  const CanaryOptions options_;
  const TimePoint start_;
  Tally canary_;
  Tally live_;
};

// True when `text` repeats one short piece (at most 64 bytes) over at least its last 256 bytes.
bool IsDegenerate(const std::string& text);

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_CANARY_H_
