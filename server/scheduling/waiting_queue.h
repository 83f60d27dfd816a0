// The sequences that hold nothing, and which of them goes next:
//   1. the best priority class (a request rises one class for each `aging` of waiting)
//   2. in it, tenants that are not more than `fair_share_slack` ahead of the least served waiting
//   one
//   3. of these, the earliest deadline (without one: arrival + patience)
//   4. then the lowest request id and choice
// Paused ones are passed over.
#ifndef LLAVA_SERVER_SCHEDULING_WAITING_QUEUE_H_
#define LLAVA_SERVER_SCHEDULING_WAITING_QUEUE_H_

#include <vector>

#include "base/clock.h"
#include "server/scheduling/limits.h"
#include "server/scheduling/marks.h"
#include "server/scheduling/sequence.h"

namespace llava::scheduling {

// Engine thread only; points to sequences of the scheduler.
class WaitingQueue {
 public:
  WaitingQueue(const SchedulerOptions& options, Marks* marks)
      : aging_(options.aging), slack_(options.fair_share_slack), marks_(marks) {}

  static constexpr int kAnyVersion = -1;

  // The next one of a version, or null.
  Sequence* Best(TimePoint now, int version) const;

  // True when `a` goes before `b`, by class and deadline.
  bool GoesBefore(const Sequence& a, const Sequence& b, TimePoint now) const;

  // The priority class after aging.
  int ClassOf(const Sequence& sequence, TimePoint now) const;

  void Add(Sequence* sequence) { sequences_.push_back(sequence); }
  void Remove(Sequence* sequence);  // REQUIRES: it is in

  const std::vector<Sequence*>& sequences() const { return sequences_; }

 private:
  const Duration aging_;
  const std::int64_t slack_;
  Marks* const marks_;
  std::vector<Sequence*> sequences_;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_WAITING_QUEUE_H_
