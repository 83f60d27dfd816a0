// Invariant 18 of server/scheduling/README.md: while somebody reads, steps are short, and no reader
// waits for its next token for longer than a step of each version at work.
#ifndef LLAVA_TESTS_SIMULATION_STEP_WATCH_H_
#define LLAVA_TESTS_SIMULATION_STEP_WATCH_H_

#include <cstdint>
#include <unordered_map>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/scheduling/scheduler.h"
#include "tests/support/fake_executor.h"

namespace llava::simulation {

class StepWatch {
 public:
  explicit StepWatch(const testing::FakeCosts& costs) : costs_(costs) {}

  // After a tick whose step, if it had one, was run; INTERNAL naming what took too long. `whole`:
  // all decodes of a version fit into a step, as they do unless the device is short of memory.
  absl::Status Check(const scheduling::Scheduler& scheduler, bool whole);

  std::int64_t steps() const { return steps_; }  // beside readers
  Duration longest() const { return longest_; }  // of them

 private:
  struct Wait {
    Duration waited{};
    Duration longest_bound{};  // of the steps meanwhile
    int versions = 0;          // at work meanwhile, at the most
  };

  Duration BoundOf(const scheduling::Scheduler& scheduler) const;
  absl::Status CheckWaits(const scheduling::Scheduler& scheduler, Duration cost, Duration bound);

  const testing::FakeCosts costs_;
  std::unordered_map<scheduling::SequenceId, Wait> waits_;
  std::int64_t steps_ = 0;
  Duration longest_{};
};

}  // namespace llava::simulation

#endif  // LLAVA_TESTS_SIMULATION_STEP_WATCH_H_
