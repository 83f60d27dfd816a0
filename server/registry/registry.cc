#include "server/registry/registry.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/scheduling/admission.h"

namespace llava::registry {
namespace {

constexpr std::size_t kMaxQueued = 16;
constexpr std::size_t kMaxRemembered = 64;
constexpr std::size_t kMaxEvents = 256;
// What a swap is said to take before any version was loaded.
constexpr Duration kUnknownLoad = std::chrono::seconds(30);
constexpr Duration kShortestRetry = std::chrono::seconds(1);

// Where a key stands between 0 and 1, always the same.
double Place(absl::string_view key) {
  const Digest digest = Sha256Of({key.data(), key.size()});
  std::uint64_t bits;
  std::memcpy(&bits, digest.bytes.data(), sizeof(bits));
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

bool IsGone(VersionState state) {
  return state == VersionState::kFreed || state == VersionState::kRejected;
}

}  // namespace

Registry::Registry(RegistryOptions options, ModelLoader* loader, const Clock* clock,
                   OnChange on_change)
    : options_(std::move(options)),
      loader_(loader),
      clock_(clock),
      on_change_(std::move(on_change)) {}

Registry::~Registry() {
  LLAVA_CHECK(!thread_.joinable());
  std::list<Entry> entries;  // dropped without the lock: that is noted in unused_
  {
    MutexLock lock(&mutex_);
    entries.swap(entries_);
  }
}

void Registry::Start() {
  thread_ = std::jthread([this] { Run(); });
}

void Registry::BeginStop() {
  MutexLock lock(&mutex_);
  stopping_ = true;
  changed_.NotifyAll();
}

void Registry::Stop() {
  BeginStop();
  if (thread_.joinable()) thread_.join();
  RememberRollBacks();  // what came last
  MutexLock lock(&mutex_);
  const absl::Status stopped = absl::UnavailableError("the server is stopping");
  for (const Command& command : commands_) Decide(command.ticket, stopped, {});
  commands_.clear();
  for (Entry& entry : entries_) {
    if (entry.next) Decide(entry.next->ticket, stopped, entry.info);
    entry.next.reset();
  }
}

absl::StatusOr<Registry::Ticket> Registry::Load(const std::string& dir, bool again) {
  MutexLock lock(&mutex_);
  if (stopping_) return absl::UnavailableError("the server is stopping");
  if (!again) {
    PassOver("a newer one came");
  }
  if (commands_.size() >= kMaxQueued) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxQueued, " checkpoints wait for being loaded, the most there may be"));
  }
  const auto ticket = std::make_shared<std::optional<Outcome>>();
  commands_.push_back({dir, again, ticket});
  changed_.NotifyAll();
  return ticket;
}

// Those that wait and that nobody asked for by hand.
void Registry::PassOver(absl::string_view why) {
  const auto pass_over = [&](const Command& command) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (command.again) return false;
    Decide(command.ticket, absl::CancelledError(why), {});
    return true;
  };
  std::erase_if(commands_, pass_over);
  for (Entry& entry : entries_) {
    if (entry.next && pass_over(*entry.next)) entry.next.reset();
  }
}

std::optional<Registry::Outcome> Registry::Await(const Ticket& ticket, TimePoint until) {
  MutexLock lock(&mutex_);
  while (!ticket->has_value()) {
    if (!changed_.WaitUntil(&mutex_, until)) break;
  }
  return *ticket;
}

void Registry::Decide(const Ticket& ticket, const absl::Status& status, const VersionInfo& info) {
  if (ticket != nullptr) *ticket = Outcome{status, info};
  changed_.NotifyAll();
}

absl::Status Registry::Promote() {
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  Entry* canary = In(VersionState::kCanary);
  if (canary == nullptr) return absl::FailedPreconditionError("there is no canary to promote");
  retired = MakeLive(*canary, "operator");
  return absl::OkStatus();
}

absl::Status Registry::RollBack(const std::string& reason) {
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  if (In(VersionState::kCanary) != nullptr) {
    retired = ActOn({Verdict::kRollBack, "operator", reason});
    return absl::OkStatus();
  }
  Entry* live = In(VersionState::kLive);
  Entry* kept = In(VersionState::kKept);
  if (live == nullptr || kept == nullptr) {
    return absl::FailedPreconditionError(
        "there is no previous version in memory to go back to; load its folder instead");
  }
  retired.push_back(Retire(*live, "operator", absl::StrCat(kRolledBack, reason)));
  kept->info.traffic = 1;
  SetState(*kept, VersionState::kLive, "operator");
  return absl::OkStatus();
}

absl::Status Registry::SetTraffic(double share) {
  if (!(share >= 0 && share <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("traffic is ", share, ", expected 0 to 1"));
  }
  MutexLock lock(&mutex_);
  Entry* canary = In(VersionState::kCanary);
  if (canary == nullptr) return absl::FailedPreconditionError("there is no canary");
  canary->info.traffic = share;
  In(VersionState::kLive)->info.traffic = 1 - share;
  SetState(*canary, VersionState::kCanary, "operator");
  return absl::OkStatus();
}

absl::Status Registry::Unload(const Digest& version) {
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  Entry* entry = FindEntry(version);
  if (entry == nullptr) {
    return absl::NotFoundError(absl::StrCat("there is no version ", version.Hex()));
  }
  switch (entry->info.state) {
    case VersionState::kKept:
      retired.push_back(Retire(*entry, "operator", ""));
      return absl::OkStatus();
    case VersionState::kCanary:
      retired = ActOn({Verdict::kRollBack, "operator", "unloaded"});
      return absl::OkStatus();
    default:
      return absl::FailedPreconditionError(absl::StrCat("version ", version.Hex(), " is ",
                                                        StateName(entry->info.state),
                                                        ", expected kept or canary"));
  }
}

Registry::Snapshot Registry::Look() const {
  MutexLock lock(&mutex_);
  Snapshot snapshot;
  for (const Entry& entry : entries_) snapshot.versions.push_back(entry.info);
  snapshot.events.assign(events_.begin(), events_.end());
  snapshot.changes = changes_;
  return snapshot;
}

bool Registry::WaitForChange(std::uint64_t seen, TimePoint until) {
  MutexLock lock(&mutex_);
  while (changes_ <= seen) {
    if (!changed_.WaitUntil(&mutex_, until)) return changes_ > seen;
  }
  return true;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> Registry::Find(absl::string_view name,
                                                                  absl::string_view key) {
  if (!name.empty() && name != options_.model_name) {
    return absl::NotFoundError(
        absl::StrCat("model: ", name, " is not served here, expected ", options_.model_name));
  }
  MutexLock lock(&mutex_);
  const Entry* live = In(VersionState::kLive);
  if (live == nullptr && swapping_since_) {
    const Duration expected = last_load_ > Duration(0) ? last_load_ : kUnknownLoad;
    const Duration left = std::max(kShortestRetry, *swapping_since_ + expected - clock_->Now());
    return scheduling::WithRetryAfter(
        absl::UnavailableError(absl::StrCat("model: a new version of ", options_.model_name,
                                            " is being loaded, for about ", Seconds(left),
                                            " s more")),
        left);
  }
  if (live == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("model: no version of ", options_.model_name, " is live yet"));
  }
  const Entry* canary = In(VersionState::kCanary);
  if (canary == nullptr) return live->served;
  return Place(key) < canary->info.traffic ? canary->served : live->served;
}

std::vector<std::shared_ptr<const ServedModel>> Registry::List() {
  MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<const ServedModel>> models;
  for (const Entry& entry : entries_) {
    const bool answers =
        entry.info.state == VersionState::kLive || entry.info.state == VersionState::kCanary;
    if (answers) models.push_back(entry.served);
  }
  return models;
}

bool Registry::AfterSwap(std::function<void()> then) {
  MutexLock lock(&mutex_);
  if (!swapping_since_ || In(VersionState::kLive) != nullptr) return false;
  after_swap_.push_back(std::move(then));
  return true;
}

bool Registry::IsJudging() {
  MutexLock lock(&mutex_);
  return judge_.has_value();
}

void Registry::Observe(const Digest& version, const Observation& observation) {
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  Entry* entry = FindEntry(version);
  if (entry == nullptr) return;
  ++entry->info.answers;
  if (!judge_) return;
  if (entry->info.state == VersionState::kCanary) judge_->AddCanary(observation);
  if (entry->info.state == VersionState::kLive) judge_->AddLive(observation);
  retired = ActOn(judge_->Judge(clock_->Now()));
}

void Registry::SetState(Entry& entry, VersionState state, const std::string& cause) {
  LLAVA_CHECK(entry.info.state == state || IsLegalTransition(entry.info.state, state));
  entry.info.state = state;
  entry.info.since_ms = clock_->UnixMillis();
  events_.push_back(
      {entry.info.since_ms, entry.info.identity.digest, entry.info.dir, state, entry.info.reason});
  if (events_.size() > kMaxEvents) events_.pop_front();
  ++changes_;
  changed_.NotifyAll();
  if (on_change_) on_change_(entry.info, cause);
}

Registry::Retired Registry::Retire(Entry& entry, const std::string& cause,
                                   const std::string& reason) {
  entry.info.traffic = 0;
  entry.info.reason = reason;
  if (absl::StartsWith(reason, kRolledBack)) rolled_back_.push_back(entry.info.identity.digest);
  SetState(entry, VersionState::kDraining, cause);
  return std::move(entry.served);
}

std::vector<Registry::Retired> Registry::MakeLive(Entry& entry, const std::string& cause) {
  std::vector<Retired> retired;
  Entry* old = In(VersionState::kLive);
  if (old != nullptr) {
    Entry* kept = In(VersionState::kKept);
    if (kept != nullptr && kept != &entry) retired.push_back(Retire(*kept, cause, ""));
    old->info.traffic = 0;
    // It was to be compared with the version that goes.
    Entry* canary = In(VersionState::kCanary);
    if (canary != nullptr && canary != &entry) {
      retired.push_back(Retire(*canary, "superseded", ""));
    }
  }
  judge_.reset();
  entry.info.traffic = 1;
  SetState(entry, VersionState::kLive, cause);
  if (old == nullptr) return retired;
  if (options_.keep_previous) {
    SetState(*old, VersionState::kKept, cause);
  } else {
    retired.push_back(Retire(*old, cause, ""));
  }
  return retired;
}

std::vector<Registry::Retired> Registry::ActOn(const Judgement& judgement) {
  std::vector<Retired> retired;
  Entry* canary = In(VersionState::kCanary);
  if (judgement.verdict == Verdict::kWait || canary == nullptr) return retired;
  if (judgement.verdict == Verdict::kPromote) return MakeLive(*canary, judgement.cause);
  judge_.reset();
  In(VersionState::kLive)->info.traffic = 1;
  retired.push_back(Retire(*canary, judgement.cause, absl::StrCat(kRolledBack, judgement.reason)));
  return retired;
}

Registry::Entry* Registry::FindEntry(const Digest& digest) {
  for (Entry& entry : entries_) {
    if (entry.info.identity.digest == digest) return &entry;
  }
  return nullptr;
}

Registry::Entry* Registry::In(VersionState state) {
  for (Entry& entry : entries_) {
    if (entry.info.state == state) return &entry;
  }
  return nullptr;
}

bool Registry::AnyLoaded() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return IsLoaded(entry.info.state); });
}

void Registry::ForgetOld() {
  for (auto it = entries_.begin(); it != entries_.end() && entries_.size() > kMaxRemembered;) {
    it = IsGone(it->info.state) ? entries_.erase(it) : std::next(it);
  }
}

}  // namespace llava::registry
