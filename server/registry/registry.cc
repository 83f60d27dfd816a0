#include "server/registry/registry.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace llava::registry {
namespace {

constexpr std::size_t kMaxQueued = 16;
constexpr std::size_t kMaxRemembered = 64;

// Where a tenant stands between 0 and 1, always the same.
double Place(absl::string_view tenant) {
  const Digest digest = Sha256Of({tenant.data(), tenant.size()});
  std::uint64_t bits;
  std::memcpy(&bits, digest.bytes.data(), sizeof(bits));
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

bool IsGone(VersionState state) {
  return state == VersionState::kFreed || state == VersionState::kRejected;
}

}  // namespace

Registry::Registry(RegistryOptions options, ModelLoader* loader,
                   std::vector<engine::Engine*> engines, const Clock* clock, OnChange on_change)
    : options_(std::move(options)),
      loader_(loader),
      engines_(std::move(engines)),
      clock_(clock),
      on_change_(std::move(on_change)) {
  LLAVA_CHECK(!engines_.empty());
}

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

void Registry::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status Registry::Load(const std::string& dir, bool again) {
  MutexLock lock(&mutex_);
  if (commands_.size() >= kMaxQueued) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxQueued, " checkpoints wait for being loaded, the most there may be"));
  }
  commands_.push_back({dir, again});
  changed_.NotifyAll();
  return absl::OkStatus();
}

absl::Status Registry::Promote() {
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  Entry* canary = In(VersionState::kCanary);
  if (canary == nullptr) return absl::FailedPreconditionError("there is no canary to promote");
  retired = MakeLive(*canary);
  return absl::OkStatus();
}

absl::Status Registry::RollBack(const std::string& reason) {
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  if (In(VersionState::kCanary) != nullptr) {
    retired = ActOn(Verdict::kRollBack, reason);
    return absl::OkStatus();
  }
  Entry* live = In(VersionState::kLive);
  Entry* kept = In(VersionState::kKept);
  if (live == nullptr || kept == nullptr) {
    return absl::FailedPreconditionError("there is no previous version to go back to");
  }
  retired.push_back(Retire(*live, reason));
  kept->info.traffic = 1;
  SetState(*kept, VersionState::kLive);
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
  return absl::OkStatus();
}

void Registry::Observe(const Digest& version, const Observation& observation) {
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  const Entry* entry = FindEntry(version);
  if (!judge_ || entry == nullptr) return;
  if (entry->info.state == VersionState::kCanary) judge_->AddCanary(observation);
  if (entry->info.state == VersionState::kLive) judge_->AddLive(observation);
  std::string reason;
  retired = ActOn(judge_->Judge(clock_->Now(), &reason), reason);
}

std::vector<VersionInfo> Registry::Versions() const {
  MutexLock lock(&mutex_);
  std::vector<VersionInfo> infos;
  for (const Entry& entry : entries_) infos.push_back(entry.info);
  return infos;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> Registry::Find(absl::string_view name,
                                                                  absl::string_view tenant) {
  if (!name.empty() && name != options_.model_name) {
    return absl::NotFoundError(
        absl::StrCat("model: ", name, " is not served here, expected ", options_.model_name));
  }
  MutexLock lock(&mutex_);
  const Entry* live = In(VersionState::kLive);
  if (live == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("model: no version of ", options_.model_name, " is live yet"));
  }
  const Entry* canary = In(VersionState::kCanary);
  if (canary == nullptr) return live->served;
  const double place = tenant.empty() ? Place(absl::StrCat("#", ++anonymous_)) : Place(tenant);
  return place < canary->info.traffic ? canary->served : live->served;
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

void Registry::SetState(Entry& entry, VersionState state) {
  LLAVA_CHECK(entry.info.state == state || IsLegalTransition(entry.info.state, state));
  entry.info.state = state;
  entry.info.since = clock_->Now();
  changes_.push_back(entry.info);
  changed_.NotifyAll();
}

Registry::Retired Registry::Retire(Entry& entry, const std::string& reason) {
  entry.info.traffic = 0;
  entry.info.reason = reason;
  SetState(entry, VersionState::kDraining);
  return std::move(entry.served);
}

std::vector<Registry::Retired> Registry::MakeLive(Entry& entry) {
  std::vector<Retired> retired;
  Entry* old = In(VersionState::kLive);
  if (old != nullptr) {
    Entry* kept = In(VersionState::kKept);
    if (kept != nullptr && kept != &entry) retired.push_back(Retire(*kept, ""));
    old->info.traffic = 0;
  }
  judge_.reset();
  entry.info.traffic = 1;
  SetState(entry, VersionState::kLive);
  if (old == nullptr) return retired;
  if (options_.keep_previous) {
    SetState(*old, VersionState::kKept);
  } else {
    retired.push_back(Retire(*old, ""));
  }
  return retired;
}

std::vector<Registry::Retired> Registry::ActOn(Verdict verdict, const std::string& reason) {
  std::vector<Retired> retired;
  Entry* canary = In(VersionState::kCanary);
  if (verdict == Verdict::kWait || canary == nullptr) return retired;
  if (verdict == Verdict::kPromote) return MakeLive(*canary);
  judge_.reset();
  In(VersionState::kLive)->info.traffic = 1;
  retired.push_back(Retire(*canary, absl::StrCat("rolled back: ", reason)));
  return retired;
}

Registry::Entry* Registry::FindEntry(const Digest& digest) {
  for (Entry& entry : entries_) {
    if (entry.info.digest == digest) return &entry;
  }
  return nullptr;
}

Registry::Entry* Registry::In(VersionState state) {
  for (Entry& entry : entries_) {
    if (entry.info.state == state) return &entry;
  }
  return nullptr;
}

void Registry::ForgetOld() {
  for (auto it = entries_.begin(); it != entries_.end() && entries_.size() > kMaxRemembered;) {
    it = IsGone(it->info.state) ? entries_.erase(it) : std::next(it);
  }
}

}  // namespace llava::registry
