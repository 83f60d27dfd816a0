#include "server/scheduling/waiting_queue.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "base/check.h"

namespace llava::scheduling {
namespace {

bool MayStart(const Sequence& sequence, int version) {
  return !sequence.request->paused &&
         (version == WaitingQueue::kAnyVersion || sequence.request->version == version);
}

auto OrderInClass(const Sequence& sequence) {
  return std::make_tuple(sequence.request->urgency, sequence.request->id, sequence.choice);
}

}  // namespace

int WaitingQueue::ClassOf(const Sequence& sequence, TimePoint now) const {
  const Request& request = *sequence.request->spec;
  const int given = static_cast<int>(request.priority);
  if (now - request.arrival >= aging_ * given) return 0;
  return given - static_cast<int>((now - request.arrival) / aging_);
}

bool WaitingQueue::GoesBefore(const Sequence& a, const Sequence& b, TimePoint now) const {
  const int class_a = ClassOf(a, now);
  const int class_b = ClassOf(b, now);
  if (class_a != class_b) return class_a < class_b;
  return OrderInClass(a) < OrderInClass(b);
}

Sequence* WaitingQueue::Best(TimePoint now, int version) const {
  int best_class = kPriorities;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const Sequence* sequence : sequences_) {
    if (!MayStart(*sequence, version)) continue;
    const int its_class = ClassOf(*sequence, now);
    if (its_class > best_class) continue;
    if (its_class < best_class) least = std::numeric_limits<std::int64_t>::max();
    best_class = its_class;
    least = std::min(least, sequence->request->tenant->counter);
  }
  Sequence* best = nullptr;
  bool held_back = false;
  for (Sequence* sequence : sequences_) {
    if (!MayStart(*sequence, version) || ClassOf(*sequence, now) != best_class) continue;
    if (sequence->request->tenant->counter - least > slack_) {
      held_back = true;
      continue;
    }
    if (best == nullptr || OrderInClass(*sequence) < OrderInClass(*best)) best = sequence;
  }
  if (held_back) Hit(marks_, Mark::kFairShareHeldBack);
  if (best != nullptr && best_class < static_cast<int>(best->request->spec->priority)) {
    Hit(marks_, Mark::kAged);
  }
  return best;
}

void WaitingQueue::Remove(Sequence* sequence) {
  const auto found = std::find(sequences_.begin(), sequences_.end(), sequence);
  LLAVA_CHECK(found != sequences_.end());
  *found = sequences_.back();
  sequences_.pop_back();
}

}  // namespace llava::scheduling
