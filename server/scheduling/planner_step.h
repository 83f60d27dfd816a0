// What the planner keeps of the step that it is planning.
#ifndef LLAVA_SERVER_SCHEDULING_PLANNER_STEP_H_
#define LLAVA_SERVER_SCHEDULING_PLANNER_STEP_H_

#include <vector>

#include "base/clock.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/planner.h"
#include "server/scheduling/step_clock.h"

namespace llava::scheduling {

struct Planner::Step {
  Step(TimePoint time_now, int of_version, const StepBudget& budget, StepPlan* to_plan,
       std::vector<PlannedChunk>* to_chunks)
      : now(time_now),
        version(of_version),
        tokens_left(budget.tokens),
        images_left(budget.images),
        plan(to_plan),
        chunks(to_chunks),
        time(budget.times, budget.time, to_plan) {}

  TimePoint now;
  int version;
  int tokens_left;
  int images_left;
  StepPlan* plan;
  std::vector<PlannedChunk>* chunks;
  StepClock time;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_PLANNER_STEP_H_
