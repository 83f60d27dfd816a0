// Is the new version worse? Answers of the canary are compared with those of the live version over
// the same time, and a verdict falls as soon as enough of them are in.
#ifndef LLAVA_SERVER_REGISTRY_CANARY_H_
#define LLAVA_SERVER_REGISTRY_CANARY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"

namespace llava::registry {

// One finished answer.
struct Observation {
  bool failed = false;             // the server's fault: an error, out of device memory, too late
  bool late = false;               // failed because its deadline passed
  bool empty = false;              // has no text: it ended at once, or is of tokens without one
  bool degenerate = false;         // mostly a repetition of itself, or no text (IsDegenerate)
  bool endless = false;            // went on until max_tokens
  // Without what the steps of other versions took meanwhile.
  double first_token_seconds = 0;  // 0: none, or mostly spared by the prefix cache
  double next_token_seconds = 0;   // the mean of the answer's inter-token times; 0: none
  std::optional<double> mean_logprob = std::nullopt;  // of its tokens as the model saw them
  std::optional<Digest> adapter = std::nullopt;       // that it was computed with
};

struct CanaryOptions {
  double traffic = 0.1;               // share of the conversations, [0, 1]; 0: live at once
  std::int64_t min_answers = 20;      // of the canary, before it is judged
  std::int64_t enough_answers = 200;  // of the canary: good if nothing spoke against it
  Duration longest = std::chrono::minutes(10);  // the same after this time
  double more_failures = 0.02;                  // share of answers above the live version's
  double more_bad_answers = 0.05;  // empty or degenerate; share above the live version's
  // The same for endless answers: their share is also the clients' doing, so only a large
  // difference speaks. A model that learned nothing does not know when to stop.
  double more_endless = 0.5;
  double slower = 1.5;  // times the live version's mean first- or next-token time (trimmed)
  // What is left of the live version's token probability (geometric mean) when the canary is so
  // much less sure of its own words: a model that learned noise is well-formed and unsure.
  double less_sure = 0.5;
};

enum class Verdict : std::uint8_t { kWait, kPromote, kRollBack };

struct Judgement {
  Verdict verdict = Verdict::kWait;
  std::string cause;   // a word, for metrics: "answers", "time", "failures", "slow_next_token", ...
  std::string reason;  // a sentence with the numbers
  // Of kRollBack: nothing but time speaks against the canary. That may be the doing of a machine
  // that stuttered or was busy, so it must not condemn the version for ever.
  bool only_late = false;
};

// Not thread-safe.
class CanaryJudge {
 public:
  CanaryJudge(const CanaryOptions& options, TimePoint start) : options_(options), start_(start) {}

  void AddCanary(const Observation& observation) { canary_.Add(observation); }
  void AddLive(const Observation& observation) { live_.Add(observation); }

  Judgement Judge(TimePoint now) const;

 private:
  struct Mean {
    double sum = 0;
    std::int64_t count = 0;
    void Add(double value);
    double value() const { return count == 0 ? 0 : sum / static_cast<double>(count); }
  };
  // The last so many times. The longest tenth of them does not enter the mean: one stutter of the
  // machine makes a few of them enormous.
  class Times {
   public:
    void Add(double seconds);
    std::int64_t count() const { return static_cast<std::int64_t>(seconds_.size()); }
    double TrimmedMean() const;

   private:
    std::vector<double> seconds_;
    std::size_t next_ = 0;  // is overwritten next, once there are enough
  };
  struct Tally {
    std::int64_t answers = 0;
    std::int64_t failed = 0;
    std::int64_t late = 0;  // of these
    std::int64_t bad = 0;
    std::int64_t endless = 0;
    Times first_seconds;
    Times next_seconds;
    Mean logprob;

    void Add(const Observation& observation);
    double Share(std::int64_t count) const;
  };
  std::optional<Judgement> Worse() const;
  bool FailsMore(std::int64_t canary_failed, std::int64_t live_failed) const;
  std::optional<Judgement> Slower(const char* cause, const char* what, const Times& canary,
                                  const Times& live) const;
  std::optional<Judgement> Endless() const;
  std::optional<Judgement> LessSure() const;

  const CanaryOptions options_;
  const TimePoint start_;
  Tally canary_;
  Tally live_;
};

// True when `text` ends with at least 6 times the same piece (1 to 64 bytes), 24 bytes or more, or
// holds what no text does: bytes that are no UTF-8 (as U+FFFD; not at its end, where a character
// may be cut), or control characters other than tab and newline.
bool IsDegenerate(const std::string& text);

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_CANARY_H_
