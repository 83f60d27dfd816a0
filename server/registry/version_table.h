// The versions of the model: in which state each of them is, why it ended, and what was told of it.
#ifndef LLAVA_SERVER_REGISTRY_VERSION_TABLE_H_
#define LLAVA_SERVER_REGISTRY_VERSION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "server/registry/served_model.h"
#include "server/registry/version_state.h"

namespace llava::registry {

// Both of a Clock's times; a step of the registry happens at one of them.
struct StepTime {
  TimePoint now;
  std::int64_t unix_ms = 0;
};

// A version as it was right after a change of its state. `cause` is a word for metrics.
struct VersionChange {
  VersionInfo info;
  std::string cause;
};

struct VersionsSnapshot {
  std::vector<VersionInfo> versions;  // oldest first; a bounded number
  std::vector<VersionEvent> events;   // oldest first; a bounded number
  std::uint64_t changes = 0;          // grows by one with every change
};

// Not thread-safe; knows no clock, file or tensor. Every illegal transition aborts, and so does an
// ending without a version that ends. README.md numbers what holds after each call.
class VersionTable {
 public:
  struct Entry {
    VersionInfo info;
    // While it is live, canary or kept. Whoever takes it out of here must let go of it where the
    // destructor may take locks.
    std::shared_ptr<const ServedModel> served;
    int slow_trials = 0;  // how often it was a canary and ended kTooSlow
  };

  // The version with this name, or the one in this state (the oldest, if there are several); null
  // when there is none. Valid until Discover.
  Entry* Find(const Digest& version);
  Entry* In(VersionState state);

  bool AnyLoaded() const;
  bool KnowsFolder(const std::string& dir) const;
  const std::list<Entry>& entries() const { return entries_; }
  std::list<Entry>& entries() { return entries_; }

  // `discovered`: a new entry, or that of a version which is gone. `identity` is null when the
  // folder does not say which version it holds; such a folder has one entry. Forgets the oldest of
  // those that are gone when there are too many.
  Entry& Discover(const std::string& dir, const VersionIdentity* identity, const StepTime& time);

  // REQUIRES: the transition is legal, and leads neither to draining, freed nor rejected.
  void Enter(Entry& entry, VersionState state, const std::string& cause, const StepTime& time);

  // To `draining` when an engine may hold it, else at once to its last state. Gets no traffic.
  void End(Entry& entry, Ending ending, const std::string& reason, const std::string& cause,
           const StepTime& time);

  // From `draining` to `rejected` or `freed`, as its ending says. REQUIRES: it is draining.
  void Finish(Entry& entry, const StepTime& time);

  // Tells a change that is none of its state, such as that of its traffic.
  void Tell(Entry& entry, const std::string& cause, const StepTime& time);

  VersionsSnapshot Snapshot() const;
  std::uint64_t changes() const { return changes_; }

  // The changes since the last call, in order.
  std::vector<VersionChange> TakeChanges();

 private:
  void SetState(Entry& entry, VersionState state, const std::string& cause, const StepTime& time);
  void ForgetOldest();

  std::list<Entry> entries_;  // the oldest first; pointers stay valid
  std::deque<VersionEvent> events_;
  std::uint64_t changes_ = 0;
  std::vector<VersionChange> untold_;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_VERSION_TABLE_H_
