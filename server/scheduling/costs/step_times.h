// How long the next step will take, learned from the last ones: what the planner asks when somebody
// reads and a step may take only so long.
//
// Here a typical cost is wanted, where the cost model (cost_model.h) gives a bound from below: what
// is too low there refuses nobody, and would here make every step too long. What is too high heals
// by itself here: some work is done in each step, and measured.
//
// A forward pass is taken to cost so much for itself, so much for each row, and so much for each
// key that a row attends to: late chunks of a long prompt cost more than early ones. The three are
// fitted to the last steps. Of a mean the machine's odd moments would be a part (a paused virtual
// machine, a throttled container); relative errors are made small instead, and the relative error
// of a step that took a hundred times too long is no greater than that of one that took twice.
#ifndef LLAVA_SERVER_SCHEDULING_COSTS_STEP_TIMES_H_
#define LLAVA_SERVER_SCHEDULING_COSTS_STEP_TIMES_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "server/scheduling/costs/measurements.h"

namespace llava::scheduling {

// What makes a forward pass dear.
struct StepShape {
  std::int64_t rows = 0;
  std::int64_t keys = 0;  // that the rows attend to, all rows together
};

// That tokens [start, start + count) of one sequence attend to.
inline std::int64_t KeysOf(int start, int count) {
  return std::int64_t{count} * start + std::int64_t{count} * (count + 1) / 2;
}

// Engine thread only; allocates nothing. Times are in seconds.
class StepTimes {
 public:
  // Prompt tokens that a step has beside readers while nothing is known: so few that no device
  // takes long for them. A later one has at most twice as many as one that was measured.
  static constexpr int kFirstTokens = 16;

  // A step that ended; `prompt_tokens` of its rows belong to prompts.
  void Forwarded(const StepShape& shape, int prompt_tokens, Duration forward);
  // So many parts of the vision tower were run, each on one tile.
  void Encoded(std::int64_t parts, Duration encode);

  // Of a pass of this shape; 0 while nothing is known.
  double Forward(const StepShape& shape);

  // Whether a step with a prompt was measured.
  bool KnowsPrompts() const { return prompts_.count > 0; }

  // How many tokens of a prompt, from `start` on, make a step `seconds` longer. REQUIRES:
  // KnowsPrompts().
  int PromptTokens(int start, double seconds);

  // The same of the vision tower: parts in `seconds`; 1 while nothing is known.
  std::int64_t Parts(double seconds) const;
  double OfParts(std::int64_t parts) const { return part_ * static_cast<double>(parts); }

 private:
  static constexpr std::size_t kCosts = 3;  // of a step, of a row, of a key

  struct Step {
    std::array<double, kCosts> counts{};  // 1, rows, keys
    double seconds = 0;
    int prompt_tokens = 0;
  };
  // Steps with prompts and steps without are remembered apart, so that long answers between two
  // prompts do not make it forgotten what prompts cost.
  struct Window {
    std::array<Step, Measurements::kWindow> steps{};
    std::size_t count = 0;
    std::size_t next = 0;
    void Add(const Step& step);
  };

  void Fit();
  double Unscaled(const std::array<double, kCosts>& counts) const;

  Window prompts_;
  Window decodes_;
  bool fitted_ = true;  // to all that is in the windows
  std::array<double, kCosts> costs_{};
  double scale_ = 1;     // what steps with prompts really took, as a multiple of what the costs say
  int most_tokens_ = 0;  // of a prompt in the window
  Measurements parts_;   // seconds of one
  double part_ = 0;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_COSTS_STEP_TIMES_H_
