// The registry's thread: how a folder becomes a version, and how a version goes.
#include <malloc.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/registry/published.h"
#include "server/registry/registry.h"

namespace llava::registry {
namespace {

constexpr Duration kProbeTimeout = std::chrono::minutes(2);
constexpr char kTotal[] = "total";  // of Manifest::evaluation: the share of right answers

// The status that an engine's thread gives to a Done.
class Reply {
 public:
  engine::Done Done() {
    return [this](absl::Status status) {
      MutexLock lock(&mutex_);
      status_ = std::move(status);
      given_.NotifyAll();
    };
  }
  absl::Status Wait() {
    MutexLock lock(&mutex_);
    while (!status_) given_.Wait(&mutex_);
    return *status_;
  }

 private:
  Mutex mutex_;
  CondVar given_;
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);
};

// Probes look at ids alone.
class NoText final : public engine::TextDecoder {
 public:
  Delta Push(std::int32_t) override { return {}; }
  Delta Finish() override { return {}; }
};

absl::Status Stopping() { return absl::CancelledError("the server is stopping"); }

}  // namespace

void Registry::Run() {
  for (;;) {
    RunOnce();
    MutexLock lock(&mutex_);
    while (!stopping_ && commands_.empty() && unused_.empty() && rolled_back_.empty()) {
      if (!judge_) {
        changed_.Wait(&mutex_);
      } else if (!changed_.WaitUntil(&mutex_, clock_->Now() + std::chrono::seconds(1))) {
        break;  // the canary's time may be over
      }
    }
    if (stopping_) return;
  }
}

void Registry::RunOnce() {
  for (;;) {
    RememberRollBacks();
    FreeUnused();
    JudgeCanary();
    Command command;
    {
      MutexLock lock(&mutex_);
      if (commands_.empty() && unused_.empty() && rolled_back_.empty()) return;
      if (stopping_) return;
      if (commands_.empty()) continue;
      command = std::move(commands_.front());
      commands_.pop_front();
    }
    LoadNow(command);
  }
}

void Registry::LoadNow(const Command& command) {
  Entry* const entry = Discover(command);
  if (entry == nullptr) return TryOlder();
  std::string before;
  const TimePoint start = clock_->Now();
  absl::Status status = Verify(entry);
  if (status.ok() && options_.swap) before = MakeRoom();
  if (status.ok()) status = Bring(entry);
  if (status.ok()) {
    Serve(entry, clock_->Now() - start);
  } else {
    Reject(entry, status);
  }
  VersionInfo info;
  {
    MutexLock lock(&mutex_);
    info = entry->info;
  }
  // What made room comes back.
  if (!status.ok() && !before.empty()) LoadNow({before, /*again=*/true, nullptr});
  EndSwap();
  {
    MutexLock lock(&mutex_);
    const bool rolled_back = status.ok() && !info.reason.empty();
    Decide(command.ticket, rolled_back ? absl::FailedPreconditionError(info.reason) : status, info);
  }
  if (!status.ok()) TryOlder();
}

// The entry to take in; null when there is nothing to do, or nothing that could be done.
Registry::Entry* Registry::Discover(const Command& command) {
  absl::StatusOr<VersionIdentity> identity = loader_->Identify(command.dir);
  const absl::Status refused =
      identity.ok() ? CheckNotRolledBack(identity->digest, command.again) : identity.status();
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  Entry* entry = identity.ok() ? FindEntry(identity->digest) : nullptr;
  if (entry != nullptr) {
    if (entry->info.state == VersionState::kKept) retired = MakeLive(*entry, "operator");
    if (entry->info.state == VersionState::kDraining) {
      if (entry->next) Decide(entry->next->ticket, absl::CancelledError("asked for again"), {});
      entry->next = command;
      return nullptr;
    }
    const bool gone = entry->info.state == VersionState::kFreed ||
                      (entry->info.state == VersionState::kRejected && command.again);
    if (!gone) {
      const bool rejected = entry->info.state == VersionState::kRejected;
      Decide(command.ticket,
             rejected ? absl::FailedPreconditionError(entry->info.reason) : absl::OkStatus(),
             entry->info);
      return nullptr;
    }
  } else {
    // A folder that does not say which version it is has one entry.
    std::erase_if(entries_, [&](const Entry& other) {
      return other.info.dir == command.dir && other.info.identity.digest == Digest{};
    });
    ForgetOld();
    entry = &entries_.emplace_back();
  }
  entry->info.dir = command.dir;
  entry->info.reason.clear();
  entry->info.answers = 0;
  if (identity.ok()) entry->info.identity = *identity;
  SetState(*entry, VersionState::kDiscovered, "");
  if (refused.ok()) return entry;
  entry->info.reason = refused.ToString();
  SetState(*entry, VersionState::kRejected, "discovered");
  Decide(command.ticket, refused, entry->info);
  return nullptr;
}

// By this daemon before it was started again, or by another one. Who asks for it gets it.
absl::Status Registry::CheckNotRolledBack(const Digest& digest, bool again) {
  if (options_.published.empty()) return absl::OkStatus();
  if (again) {
    ForgetRolledBack(options_.published, digest);
    return absl::OkStatus();
  }
  const auto why = WhyRolledBack(options_.published, digest);
  if (!why) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("it was rolled back before: ", why->empty() ? "nobody noted why" : *why));
}

void Registry::Enter(Entry* entry, VersionState state) {
  MutexLock lock(&mutex_);
  SetState(*entry, state, "");
}

absl::Status Registry::ContinueUnlessStopping() {
  MutexLock lock(&mutex_);
  return stopping_ ? Stopping() : absl::OkStatus();
}

absl::Status Registry::Verify(Entry* entry) {
  Enter(entry, VersionState::kVerifying);
  return Annotate(loader_->Verify(entry->info.dir, entry->info.identity.digest,
                                  [this] { return ContinueUnlessStopping(); }),
                  "verifying");
}

// Only this thread changes an entry before it is live or a canary; the lock is for its readers.
absl::Status Registry::Bring(Entry* entry) {
  Enter(entry, VersionState::kLoading);
  RETURN_IF_ERROR(ContinueUnlessStopping());
  bool beside = false;
  {
    MutexLock lock(&mutex_);
    beside = AnyLoaded();
  }
  auto loaded = loader_->Load(entry->info.dir, entry->info.identity.digest, beside);
  if (!loaded.ok()) return Annotate(loaded.status(), "loading");
  entry->loaded = *std::move(loaded);
  {
    MutexLock lock(&mutex_);
    entry->info.bytes = entry->loaded.bytes;
  }
  RETURN_IF_ERROR(ContinueUnlessStopping());
  auto engines = loader_->EnginesFor(entry->loaded, beside);
  if (!engines.ok()) return Annotate(engines.status(), "loading");
  entry->engines = *std::move(engines);
  RETURN_IF_ERROR(Annotate(AddToEngines(entry), "loading"));
  Enter(entry, VersionState::kWarming);
  RETURN_IF_ERROR(Annotate(Warm(*entry), "warming"));
  Enter(entry, VersionState::kProbing);
  return Annotate(RunProbes(*entry), "probing");
}

void Registry::Serve(Entry* entry, Duration load_time) {
  const Digest digest = entry->info.identity.digest;
  auto model = std::make_unique<ServedModel>();
  model->name = options_.model_name;
  model->version = digest.Hex();
  model->digest = digest;
  model->processor = entry->loaded.processor;
  model->engines = entry->engines;
  // The last call that runs on it says so, whatever thread that is.
  const auto last_use = [this, digest](const ServedModel* unused) {
    delete unused;
    MutexLock lock(&mutex_);
    unused_.push_back(digest);
    changed_.NotifyAll();
  };
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  last_load_ = load_time;
  entry->info.load_seconds = Seconds(load_time);
  entry->served = std::shared_ptr<const ServedModel>(model.release(), last_use);
  Entry* const live = In(VersionState::kLive);
  if (live == nullptr || options_.canary.traffic == 0) {
    retired = MakeLive(*entry, live == nullptr ? "first" : "no_canary");
    return;
  }
  if (Entry* const older = In(VersionState::kCanary)) {
    retired.push_back(Retire(*older, "superseded", ""));
  }
  entry->info.traffic = options_.canary.traffic;
  live->info.traffic = 1 - options_.canary.traffic;
  judge_.emplace(options_.canary, clock_->Now());
  SetState(*entry, VersionState::kCanary, "");
  const std::string worse = WhyWorse(entry->info.identity, live->info.identity);
  if (worse.empty()) return;
  for (Retired& gone : ActOn({Verdict::kRollBack, "evaluation", worse})) {
    retired.push_back(std::move(gone));
  }
}

// By what the manifests say of both; empty when it is not worse, or when one of them says nothing.
std::string Registry::WhyWorse(const VersionIdentity& canary, const VersionIdentity& live) const {
  const auto total = canary.evaluation.find(kTotal);
  const auto live_total = live.evaluation.find(kTotal);
  if (total == canary.evaluation.end() || live_total == live.evaluation.end()) return "";
  if (total->second >= live_total->second - options_.worse_evaluation) return "";
  return absl::StrCat("its evaluation says ", total->second, ", that of the live version ",
                      live_total->second);
}

void Registry::Reject(Entry* entry, const absl::Status& status) {
  bool in_engines = false;
  {
    MutexLock lock(&mutex_);
    const std::string cause = StateName(entry->info.state);
    entry->info.reason = status.ToString();
    in_engines = IsLoaded(entry->info.state);
    SetState(*entry, in_engines ? VersionState::kDraining : VersionState::kRejected, cause);
  }
  if (in_engines) return FreeNow(entry->info.identity.digest);
  entry->loaded = {};
  entry->engines.clear();
  malloc_trim(0);
}

// Lets everything that is loaded go, and waits until it is gone. Returns the folder of what was
// live; empty when nothing was.
std::string Registry::MakeRoom() {
  std::string before;
  std::vector<Retired> retired;
  {
    MutexLock lock(&mutex_);
    const Entry* live = In(VersionState::kLive);
    if (live == nullptr) return before;
    before = live->info.dir;
    swapping_since_ = clock_->Now();
    for (Entry& entry : entries_) {
      if (entry.served != nullptr) retired.push_back(Retire(entry, "swap", ""));
    }
  }
  retired.clear();
  for (;;) {
    FreeUnused();
    MutexLock lock(&mutex_);
    if (!AnyLoaded() || stopping_) return before;
    while (unused_.empty() && !stopping_) changed_.Wait(&mutex_);
  }
}

void Registry::EndSwap() {
  std::vector<std::function<void()>> waiting;
  {
    MutexLock lock(&mutex_);
    swapping_since_.reset();
    waiting.swap(after_swap_);
  }
  for (const auto& then : waiting) then();
}

// Nothing is live and the newest version was rejected: one that is older may be good.
void Registry::TryOlder() {
  if (options_.published.empty()) return;
  const std::vector<std::string> dirs = VersionsIn(options_.published);
  MutexLock lock(&mutex_);
  if (stopping_ || !commands_.empty() || In(VersionState::kLive) != nullptr) return;
  for (const std::string& dir : dirs) {
    const bool known = std::any_of(entries_.begin(), entries_.end(),
                                   [&](const Entry& entry) { return entry.info.dir == dir; });
    if (known) continue;
    commands_.push_back({dir, /*again=*/false, nullptr});
    return;
  }
}

// All engines or none.
absl::Status Registry::AddToEngines(Entry* entry) {
  const auto& models = entry->loaded.models;
  LLAVA_CHECK_EQ(models.size(), entry->engines.size());
  for (std::size_t i = 0; i < models.size(); ++i) {
    LLAVA_CHECK(models[i]->version() == entry->info.identity.digest);
    Reply reply;
    entry->engines[i]->AddVersion(models[i], reply.Done());
    const absl::Status status = reply.Wait();
    if (status.ok()) continue;
    entry->engines.resize(i);
    RemoveFromEngines(entry);
    return status;
  }
  return absl::OkStatus();
}

// The first step of a version allocates; nobody should wait for that.
absl::Status Registry::Warm(const Entry& entry) {
  for (engine::Engine* engine : entry.engines) {
    scheduling::Request request;
    request.version = entry.info.identity.digest;
    request.prompt_ids = {1};
    request.sampling.max_tokens = 2;
    RETURN_IF_ERROR(Ask(*engine, std::move(request)).status());
  }
  return absl::OkStatus();
}

absl::Status Registry::RunProbes(const Entry& entry) {
  for (engine::Engine* engine : entry.engines) {
    for (const PreparedProbe& probe : entry.loaded.probes) {
      scheduling::Request request = probe.request;
      request.version = entry.info.identity.digest;
      ASSIGN_OR_RETURN(auto ids, Ask(*engine, std::move(request)));
      if (ids.size() > probe.expected.size()) ids.resize(probe.expected.size());
      if (ids == probe.expected) continue;
      return absl::FailedPreconditionError(absl::StrCat("probe \"", probe.name, "\" answered ids [",
                                                        absl::StrJoin(ids, ", "), "], expected [",
                                                        absl::StrJoin(probe.expected, ", "), "]"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::int32_t>> Registry::Ask(engine::Engine& engine,
                                                        scheduling::Request request) {
  RETURN_IF_ERROR(ContinueUnlessStopping());
  request.arrival = clock_->Now();
  request.deadline = request.arrival + kProbeTimeout;
  request.priority = scheduling::Priority::kLow;  // those who are being served go first
  ASSIGN_OR_RETURN(
      auto stream,
      engine.Submit({std::move(request), {}, [] { return std::make_unique<NoText>(); }}));
  std::vector<std::int32_t> ids;
  while (auto event = stream.Pop()) {
    if (auto* end = std::get_if<engine::End>(&*event)) {
      if (!end->status.ok()) return end->status;
      break;
    }
    for (const auto& token : std::get<engine::Delta>(*event).tokens) ids.push_back(token.token);
  }
  return ids;
}

// At once, not when the last answer of such a version has ended: the daemon may be killed before.
void Registry::RememberRollBacks() {
  std::vector<VersionInfo> versions;
  {
    MutexLock lock(&mutex_);
    for (const Digest& digest : rolled_back_) versions.push_back(FindEntry(digest)->info);
    rolled_back_.clear();
  }
  if (options_.published.empty()) return;
  for (const VersionInfo& version : versions) {
    const Digest& digest = version.identity.digest;
    const absl::Status noted = RememberRolledBack(options_.published, digest, version.reason);
    if (noted.ok()) continue;
    // This daemon still knows, until it ends.
    MutexLock lock(&mutex_);
    absl::StrAppend(&FindEntry(digest)->info.reason, "; not noted for others: ", noted.message());
  }
}

void Registry::FreeUnused() {
  std::vector<Digest> unused;
  {
    MutexLock lock(&mutex_);
    unused.swap(unused_);
  }
  for (const Digest& digest : unused) FreeNow(digest);
}

// Nobody runs on it: the engines forget it at once. Its memory goes in this thread, not in theirs.
void Registry::FreeNow(const Digest& digest) {
  Entry* entry = nullptr;
  {
    MutexLock lock(&mutex_);
    entry = FindEntry(digest);
  }
  LLAVA_CHECK(entry != nullptr);
  RemoveFromEngines(entry);
  entry->loaded = {};
  malloc_trim(0);
  MutexLock lock(&mutex_);
  entry->info.bytes = 0;
  SetState(*entry, entry->info.reason.empty() ? VersionState::kFreed : VersionState::kRejected, "");
  if (!entry->next) return;
  commands_.push_front(*std::exchange(entry->next, std::nullopt));
}

void Registry::RemoveFromEngines(Entry* entry) {
  for (engine::Engine* engine : entry->engines) {
    Reply reply;
    engine->RemoveVersion(entry->info.identity.digest, reply.Done());
    reply.Wait().IgnoreError();  // UNAVAILABLE: the engine has stopped, and holds nothing
  }
  entry->engines.clear();
}

void Registry::JudgeCanary() {
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  if (!judge_) return;
  retired = ActOn(judge_->Judge(clock_->Now()));
}

}  // namespace llava::registry
