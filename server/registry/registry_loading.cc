// The registry's thread: how a folder becomes a version, and how a version goes.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/registry/registry.h"

namespace llava::registry {
namespace {

constexpr Duration kProbeTimeout = std::chrono::minutes(2);

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
  Piece Push(std::int32_t) override { return {}; }
  std::string Finish() override { return {}; }
};

}  // namespace

void Registry::Run() {
  for (;;) {
    RunOnce();
    MutexLock lock(&mutex_);
    while (!stopping_ && commands_.empty() && unused_.empty() && changes_.empty()) {
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
    FreeUnused();
    JudgeCanary();
    TellChanges();
    Command command;
    {
      MutexLock lock(&mutex_);
      if (commands_.empty() && unused_.empty() && changes_.empty()) return;
      if (commands_.empty()) continue;
      command = std::move(commands_.front());
      commands_.pop_front();
    }
    LoadNow(command);
  }
}

void Registry::LoadNow(const Command& command) {
  Entry* const entry = Discover(command);
  if (entry == nullptr) return;
  const absl::Status status = TakeIn(entry);
  if (status.ok()) return;
  const Digest digest = entry->info.digest;
  bool in_engines = false;
  {
    MutexLock lock(&mutex_);
    entry->info.reason = std::string(status.ToString());
    in_engines = entry->info.state > VersionState::kLoading;
    SetState(*entry, in_engines ? VersionState::kDraining : VersionState::kRejected);
  }
  if (in_engines) FreeNow(digest);
}

// The entry to take in; null when there is nothing to do, or nothing that could be done.
Registry::Entry* Registry::Discover(const Command& command) {
  const absl::StatusOr<Digest> digest = loader_->Identify(command.dir);
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  Entry* entry = digest.ok() ? FindEntry(*digest) : nullptr;
  if (entry != nullptr) {
    if (entry->info.state == VersionState::kKept) retired = MakeLive(*entry);
    const bool gone = entry->info.state == VersionState::kFreed ||
                      (entry->info.state == VersionState::kRejected && command.again);
    if (!gone) return nullptr;
  } else {
    ForgetOld();
    entry = &entries_.emplace_back();
  }
  entry->info.dir = command.dir;
  entry->info.reason.clear();
  if (digest.ok()) entry->info.digest = *digest;
  SetState(*entry, VersionState::kDiscovered);
  if (digest.ok()) return entry;
  entry->info.reason = digest.status().ToString();
  SetState(*entry, VersionState::kRejected);
  return nullptr;
}

// Only this thread changes an entry before it is live or a canary; the lock is for its readers.
absl::Status Registry::TakeIn(Entry* entry) {
  const auto enter = [this, entry](VersionState state) {
    {
      MutexLock lock(&mutex_);
      SetState(*entry, state);
    }
    TellChanges();
  };
  const Digest digest = entry->info.digest;
  enter(VersionState::kVerifying);
  RETURN_IF_ERROR(Annotate(loader_->Verify(entry->info.dir), "verifying"));
  enter(VersionState::kLoading);
  auto loaded = loader_->Load(entry->info.dir);
  if (!loaded.ok()) return Annotate(loaded.status(), "loading");
  RETURN_IF_ERROR(Annotate(AddToEngines(digest, *loaded), "loading"));
  enter(VersionState::kWarming);
  RETURN_IF_ERROR(Annotate(Warm(digest), "warming"));
  enter(VersionState::kProbing);
  RETURN_IF_ERROR(Annotate(RunProbes(digest, loaded->probes), "probing"));

  auto model = std::make_unique<ServedModel>();
  model->name = options_.model_name;
  model->version = digest.Hex().substr(0, 16);
  model->digest = digest;
  model->preparer = std::move(loaded->preparer);
  model->engines = engines_;
  // The last call that runs on it says so, whatever thread that is.
  const auto last_use = [this, digest](const ServedModel* unused) {
    delete unused;
    MutexLock lock(&mutex_);
    unused_.push_back(digest);
    changed_.NotifyAll();
  };
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  entry->served = std::shared_ptr<const ServedModel>(model.release(), last_use);
  Entry* const live = In(VersionState::kLive);
  if (live == nullptr || options_.canary.traffic == 0) {
    retired = MakeLive(*entry);
    return absl::OkStatus();
  }
  if (Entry* const older = In(VersionState::kCanary)) {
    retired.push_back(Retire(*older, "rolled back: a newer version came"));
  }
  entry->info.traffic = options_.canary.traffic;
  live->info.traffic = 1 - options_.canary.traffic;
  judge_.emplace(options_.canary, clock_->Now());
  SetState(*entry, VersionState::kCanary);
  return absl::OkStatus();
}

// All engines or none.
absl::Status Registry::AddToEngines(const Digest& digest, const LoadedVersion& loaded) {
  LLAVA_CHECK_EQ(loaded.models.size(), engines_.size());
  for (std::size_t i = 0; i < engines_.size(); ++i) {
    Reply reply;
    engines_[i]->AddVersion(loaded.models[i], reply.Done());
    const absl::Status status = reply.Wait();
    if (status.ok()) continue;
    for (std::size_t added = 0; added < i; ++added) {
      Reply removed;
      engines_[added]->RemoveVersion(digest, removed.Done());
      removed.Wait().IgnoreError();
    }
    return status;
  }
  return absl::OkStatus();
}

// The first step of a version allocates; nobody should wait for that.
absl::Status Registry::Warm(const Digest& digest) {
  for (engine::Engine* engine : engines_) {
    scheduling::Request request;
    request.version = digest;
    request.prompt_ids = {1};
    request.sampling.max_tokens = 2;
    RETURN_IF_ERROR(Ask(*engine, std::move(request)).status());
  }
  return absl::OkStatus();
}

absl::Status Registry::RunProbes(const Digest& digest, const std::vector<PreparedProbe>& probes) {
  for (engine::Engine* engine : engines_) {
    for (const PreparedProbe& probe : probes) {
      scheduling::Request request = probe.request;
      request.version = digest;
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
  request.arrival = clock_->Now();
  request.deadline = request.arrival + kProbeTimeout;
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

void Registry::FreeUnused() {
  std::vector<Digest> unused;
  {
    MutexLock lock(&mutex_);
    unused.swap(unused_);
  }
  for (const Digest& digest : unused) FreeNow(digest);
}

// Nobody runs on it: the engines forget it at once.
void Registry::FreeNow(const Digest& digest) {
  RemoveFromEngines(digest);
  MutexLock lock(&mutex_);
  Entry* const entry = FindEntry(digest);
  LLAVA_CHECK(entry != nullptr);
  SetState(*entry, entry->info.reason.empty() ? VersionState::kFreed : VersionState::kRejected);
}

void Registry::RemoveFromEngines(const Digest& digest) {
  for (engine::Engine* engine : engines_) {
    Reply reply;
    engine->RemoveVersion(digest, reply.Done());
    reply.Wait().IgnoreError();  // UNAVAILABLE: the engine has stopped, and holds nothing
  }
}

void Registry::JudgeCanary() {
  std::vector<Retired> retired;
  MutexLock lock(&mutex_);
  if (!judge_) return;
  std::string reason;
  retired = ActOn(judge_->Judge(clock_->Now(), &reason), reason);
}

void Registry::TellChanges() {
  std::vector<VersionInfo> changes;
  {
    MutexLock lock(&mutex_);
    changes.swap(changes_);
  }
  if (!on_change_) return;
  for (const VersionInfo& info : changes) on_change_(info);
}

}  // namespace llava::registry
