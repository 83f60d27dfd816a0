// What is left of a step that is being planned: its time, its tokens, its images.
#ifndef LLAVA_SERVER_SCHEDULING_STEP_CLOCK_H_
#define LLAVA_SERVER_SCHEDULING_STEP_CLOCK_H_

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "server/scheduling/costs/step_times.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/planner.h"

namespace llava::scheduling {

// Of one step; engine thread only. While nobody reads, the best prompt and its pictures take what
// time they need: nobody waits for a next token. What joins them, and everything while somebody
// reads, has only the time of a step, so that the first token is not late. New work has half of
// that time even when the decodes leave less, and the first of it a smallest piece (kLeastTokens,
// or one part of the vision tower) however long it takes: prompts get on.
class StepClock {
 public:
  static constexpr int kLeastTokens = 8;

  // `times` may be null, then no time is ever over. Both outlive the clock; `plan` grows meanwhile.
  StepClock(StepTimes* times, Duration step, const StepPlan* plan)
      : times_(times), step_(Seconds(step)), plan_(plan) {}

  // Some running sequence of any version waits for its next token.
  void HasReader() { bounded_ = times_ != nullptr; }

  // Tokens of a prompt that fit in, from `start` on.
  int Tokens(int start);

  // Parts of the vision tower that fit in beside the `count` tokens from `start` on.
  std::int64_t Parts(int start, int count);
  // So many are planned.
  void Encodes(std::int64_t parts);

  // What a prompt does in this step is planned; the next one joins it.
  void PromptPlanned();

  // Nothing more fits in.
  bool IsOver() { return worked_ && Tokens(0) == 0; }

 private:
  double Left(int start, int count);
  StepShape ShapeWith(int start, int count) const;

  StepTimes* const times_;
  const double step_;
  const StepPlan* const plan_;
  bool bounded_ = false;
  bool worked_ = false;  // something besides decodes is planned
  double limit_ = -1;    // seconds of the whole step; below 0: not computed yet
  double encode_ = 0;    // seconds of the planned parts
};

// What the planner keeps of the step that it is planning.
struct Planner::Step {
  Step(TimePoint time_now, int of_version, const StepBudget& budget, StepPlan* to_plan,
       std::vector<PlannedChunk>* to_chunks)
      : now(time_now),
        version(of_version),
        tokens_left(budget.tokens),
        images_left(budget.images),
        plan(to_plan),
        chunks(to_chunks),
        time(budget.times, budget.time, to_plan),
        costs(budget.costs) {}

  TimePoint now;
  int version;
  int tokens_left;
  int images_left;
  StepPlan* plan;
  std::vector<PlannedChunk>* chunks;
  StepClock time;
  StepTimes* costs;  // see StepBudget
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_STEP_CLOCK_H_
