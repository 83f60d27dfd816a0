#include "server/registry/version_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace llava::registry {
namespace {

// Entries and events that List shows; what is loaded is never forgotten.
constexpr std::size_t kMaxEntries = 64;
constexpr std::size_t kMaxEvents = 256;

bool IsGone(VersionState state) {
  return state == VersionState::kFreed || state == VersionState::kRejected;
}

}  // namespace

VersionTable::Entry* VersionTable::Find(const Digest& version) {
  for (Entry& entry : entries_) {
    if (entry.info.identity.digest == version) return &entry;
  }
  return nullptr;
}

VersionTable::Entry* VersionTable::In(VersionState state) {
  for (Entry& entry : entries_) {
    if (entry.info.state == state) return &entry;
  }
  return nullptr;
}

bool VersionTable::AnyLoaded() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return IsLoaded(entry.info.state); });
}

bool VersionTable::KnowsFolder(const std::string& dir) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return entry.info.dir == dir; });
}

VersionTable::Entry& VersionTable::Discover(const std::string& dir, const VersionIdentity* identity,
                                            const StepTime& time) {
  Entry* entry = identity == nullptr ? nullptr : Find(identity->digest);
  if (entry == nullptr) {
    std::erase_if(entries_, [&](const Entry& other) {
      return other.info.dir == dir && other.info.identity.digest == Digest{};
    });
    ForgetOldest();
    entry = &entries_.emplace_back();
  } else {
    LLAVA_CHECK(IsGone(entry->info.state));
  }
  entry->info.dir = dir;
  entry->info.ending = Ending::kNone;
  entry->info.reason.clear();
  entry->info.answers = 0;
  if (identity != nullptr) entry->info.identity = *identity;
  SetState(*entry, VersionState::kDiscovered, "", time);
  return *entry;
}

void VersionTable::Enter(Entry& entry, VersionState state, const std::string& cause,
                         const StepTime& time) {
  LLAVA_CHECK(!IsGone(state) && state != VersionState::kDraining);
  SetState(entry, state, cause, time);
}

void VersionTable::End(Entry& entry, Ending ending, const std::string& reason,
                       const std::string& cause, const StepTime& time) {
  LLAVA_CHECK(ending != Ending::kNone && entry.info.ending == Ending::kNone);
  entry.info.traffic = 0;
  entry.info.ending = ending;
  entry.info.reason = reason;
  if (IsLoaded(entry.info.state)) return SetState(entry, VersionState::kDraining, cause, time);
  LLAVA_CHECK(IsRejection(ending));
  SetState(entry, VersionState::kRejected, cause, time);
}

void VersionTable::Finish(Entry& entry, const StepTime& time) {
  LLAVA_CHECK(entry.info.state == VersionState::kDraining);
  entry.info.bytes = 0;
  SetState(entry, IsRejection(entry.info.ending) ? VersionState::kRejected : VersionState::kFreed,
           "", time);
}

void VersionTable::Tell(Entry& entry, const std::string& cause, const StepTime& time) {
  SetState(entry, entry.info.state, cause, time);
}

void VersionTable::SetState(Entry& entry, VersionState state, const std::string& cause,
                            const StepTime& time) {
  VersionInfo& info = entry.info;
  LLAVA_CHECK(info.state == state || IsLegalTransition(info.state, state));
  info.state = state;
  info.since_ms = time.unix_ms;
  events_.push_back(
      {info.since_ms, info.identity.digest, info.dir, state, info.ending, info.reason});
  if (events_.size() > kMaxEvents) events_.pop_front();
  ++changes_;
  untold_.push_back({info, cause});
}

VersionsSnapshot VersionTable::Snapshot() const {
  VersionsSnapshot snapshot;
  for (const Entry& entry : entries_) snapshot.versions.push_back(entry.info);
  snapshot.events.assign(events_.begin(), events_.end());
  snapshot.changes = changes_;
  return snapshot;
}

std::vector<VersionChange> VersionTable::TakeChanges() { return std::exchange(untold_, {}); }

void VersionTable::ForgetOldest() {
  for (auto it = entries_.begin(); it != entries_.end() && entries_.size() >= kMaxEntries;) {
    it = IsGone(it->info.state) ? entries_.erase(it) : std::next(it);
  }
}

}  // namespace llava::registry
