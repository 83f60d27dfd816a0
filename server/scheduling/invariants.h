// The numbered invariants of README.md, checked from outside: the simulation and the tests call
// this after every tick.
#ifndef LLAVA_SERVER_SCHEDULING_INVARIANTS_H_
#define LLAVA_SERVER_SCHEDULING_INVARIANTS_H_

#include "absl/status/status.h"
#include "server/scheduling/scheduler.h"

namespace llava::scheduling {

// INTERNAL naming the first invariant that does not hold and by what. Between two ticks only; takes
// time in proportion to the blocks and the live sequences.
absl::Status CheckInvariants(const Scheduler& scheduler);

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_INVARIANTS_H_
