#include "tests/simulation/registry_world.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/registry/invariants.h"
#include "server/scheduling/request_check.h"
#include "tests/support/fake_executor.h"

namespace llava::simulation {
namespace {

using registry::Ending;
using registry::Origin;
using registry::VersionState;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr testing::FakeCosts kCosts{microseconds(200), microseconds(10), milliseconds(2)};
// By the plan's longest canary: three canaries and the pauses between them, with room.
constexpr int kQuietAfter = 30;

absl::Status Broken(int number, absl::string_view what) {
  return absl::InternalError(absl::StrCat("registry invariant ", number, ": ", what));
}

scheduling::AdmissionOptions Bounds(int max_live) {
  scheduling::AdmissionOptions options;
  options.total.requests = max_live;
  options.per_tenant.requests = std::max(1, max_live - 1);
  return options;
}

}  // namespace

RegistryWorld::RegistryWorld(std::uint64_t seed)
    : rng_(seed),
      plan_(RegistryPlan::Draw(rng_)),
      gate_(Bounds(plan_.max_live), &clock_),
      loader_(plan_.registry),
      directory_("llava", {}, &clock_,
                 [this](const Digest& version, const registry::Observation& observation) {
                   observed_.push_back({version, observation});
                 }) {
  clock_.Advance(std::chrono::seconds(1));
  std::vector<engine::Engine*> engines;
  for (int i = 0; i < plan_.engines; ++i) {
    auto executor =
        std::make_unique<testing::FakeExecutor>(plan_.engine.scheduler.num_blocks, &clock_, kCosts);
    executor->behind = seed % 2 == 1;
    executor->before_forward = [this](const scheduling::StepPlan&) {
      MaybeStutter();
      if (!faults_ || !plan_.errors || !rng_.Chance(0.01)) return absl::OkStatus();
      ++step_errors_;
      return absl::InternalError("simulated device error");
    };
    engines_.push_back(
        std::make_unique<engine::Engine>(plan_.engine, std::move(executor), &clock_, nullptr));
    engines.push_back(engines_.back().get());
  }
  worker_ = std::make_unique<SimulatedWorker>(
      &rng_, &clock_, engines, scheduling::ContextTokens(plan_.engine.scheduler),
      [this](const Digest& version) { gone_.push_back(version); });
  arrivals_ = plan_.arrivals;
}

RegistryWorld::~RegistryWorld() {
  for (const auto& engine : engines_) engine->Stop();
  calls_.clear();
  waiting_.clear();
  routes_ = {};
  directory_.Exchange({}).routes.reset();
  loader_.TakeServed().clear();
}

// A machine that stands still for a while, in the middle of a step.
void RegistryWorld::MaybeStutter() {
  if (!faults_ || !plan_.stutters || !rng_.Chance(0.002)) return;
  clock_.Advance(milliseconds(rng_.Between(50, 130'000)));
  ++totals_.count["stutters"];
}

absl::Status RegistryWorld::RunFaultyPhase(int ticks) {
  RETURN_IF_ERROR(Publish(DrawCheckpoint(), Origin::kOperator));
  for (int i = 0; i < ticks; ++i) {
    if (rng_.Chance(plan_.publishing)) {
      RETURN_IF_ERROR(Publish(DrawCheckpoint(), Origin::kPublished));
    }
    if (plan_.operators && rng_.Chance(0.01)) RETURN_IF_ERROR(Operate());
    RETURN_IF_ERROR(Tick());
  }
  return absl::OkStatus();
}

Checkpoint RegistryWorld::DrawCheckpoint() {
  static constexpr VersionState kStages[] = {VersionState::kDiscovered, VersionState::kVerifying,
                                             VersionState::kLoading, VersionState::kWarming,
                                             VersionState::kProbing};
  Checkpoint checkpoint;
  checkpoint.evaluation = plan_.worse && rng_.Chance(0.3) ? 0.5 : 0.9;
  if (plan_.failing && rng_.Chance(0.4)) checkpoint.fails_in = kStages[rng_.Below(5)];
  checkpoint.fails_once = plan_.flaky && rng_.Chance(0.5);
  checkpoint.garbles = plan_.garbled && rng_.Chance(0.3);
  if (plan_.slow && rng_.Chance(0.3)) checkpoint.slowness = 3;
  return checkpoint;
}

absl::Status RegistryWorld::Publish(Checkpoint checkpoint, Origin origin) {
  checkpoint.dir = absl::StrCat("v", next_checkpoint_++);
  checkpoint.version = Sha256Of(checkpoint.dir);
  newest_ = checkpoint.dir;
  worker_->disk.push_back(checkpoint);
  tickets_.push_back(std::make_shared<std::optional<registry::LoadOutcome>>());
  return Step(registry::LoadRequest{checkpoint.dir, origin, tickets_.back()});
}

absl::Status RegistryWorld::Operate() {
  newest_.clear();
  const Checkpoint& any = worker_->disk[rng_.Below(worker_->disk.size())];
  const Origin origin = rng_.Chance(0.5) ? Origin::kOperator : Origin::kPublished;
  switch (rng_.Below(6)) {
    case 0:
      return Step(registry::PromoteRequest{});
    case 1:
      return Step(registry::RollBackRequest{"by root"});
    case 2:
      return Step(registry::TrafficRequest{rng_.Uniform()});
    case 3:
      return Step(registry::UnloadRequest{rng_.Chance(0.5) ? KeptOr(any.version) : any.version});
    default:
      tickets_.push_back(std::make_shared<std::optional<registry::LoadOutcome>>());
      return Step(registry::LoadRequest{any.dir, origin, tickets_.back()});
  }
}

Digest RegistryWorld::KeptOr(const Digest& other) const {
  for (const auto& entry : loader_.table().entries()) {
    if (entry.info.state == registry::VersionState::kKept) return entry.info.identity.digest;
  }
  return other;
}

// As registry::Registry does, but for the lock.
absl::Status RegistryWorld::Step(registry::LoaderEvent event, std::optional<registry::Work>* work) {
  const bool is_load = std::holds_alternative<registry::LoadRequest>(event);
  registry::VersionDirectory::Exchanged exchanged;
  registry::StepOutput output = loader_.Step({clock_.Now(), clock_.UnixMillis()}, std::move(event));
  if (is_load && !output.status.ok()) tickets_.pop_back();  // refused: nobody waits for it
  if (output.routes) {
    exchanged = directory_.Exchange(*output.routes);
    routes_ = *std::move(output.routes);
  }
  RETURN_IF_ERROR(CheckChanges(output));
  RETURN_IF_ERROR(registry::CheckInvariants(loader_, routes_));
  RETURN_IF_ERROR(CheckAlwaysLive());
  if (output.work) RETURN_IF_ERROR(CheckWork(*output.work));
  if (work != nullptr) *work = std::move(output.work);
  for (const auto& then : exchanged.waiting) then();
  return absl::OkStatus();
}

// Each change is legal, is told once, and in order.
absl::Status RegistryWorld::CheckChanges(const registry::StepOutput& output) {
  for (const registry::VersionChange& change : output.changes) {
    const registry::VersionInfo& info = change.info;
    const Digest& version = info.identity.digest;
    ++changes_;
    ++totals_.count[registry::StateName(info.state)];
    const auto before = told_.find(version);
    if (version != Digest{} && before != told_.end() && before->second != info.state &&
        !registry::IsLegalTransition(before->second, info.state)) {
      return Broken(9, absl::StrCat(info.dir, " came from ", registry::StateName(before->second),
                                    " to ", registry::StateName(info.state)));
    }
    told_[version] = info.state;
    if (info.state == VersionState::kVerifying && worker_->notes.contains(version)) {
      return Broken(12, absl::StrCat(info.dir, " comes again though it was rolled back"));
    }
    if (info.state == VersionState::kFreed || info.state == VersionState::kRejected) {
      ++totals_.count[absl::StrCat("ended ", registry::EndingName(info.ending))];
    }
    if (info.state == VersionState::kDraining && info.ending == Ending::kRolledBack &&
        !plan_.registry.published.empty()) {
      unnoted_.insert(version);
    }
  }
  if (changes_ != loader_.table().changes()) return Broken(9, "a change was not told");
  return absl::OkStatus();
}

absl::Status RegistryWorld::CheckWork(const registry::Work& work) {
  if (const auto* note = std::get_if<registry::NoteWork>(&work)) {
    if (unnoted_.erase(note->version) == 0) return Broken(12, "a note of what was not rolled back");
  }
  if (const auto* free = std::get_if<registry::FreeWork>(&work)) {
    for (const Call& call : calls_) {
      if (call.model->digest == free->version) return Broken(11, "a version in use is freed");
    }
  }
  return absl::OkStatus();
}

// Once something answers, something answers: but for a swap, and for what comes of two failures.
absl::Status RegistryWorld::CheckAlwaysLive() {
  if (routes_.live != nullptr) {
    was_live_ = true;
    swap_failed_ = false;
  } else if (routes_.swap) {
    swap_failed_ = true;
  }
  if (was_live_ && routes_.live == nullptr && !swap_failed_) return Broken(10, "nothing is live");
  return absl::OkStatus();
}

absl::Status RegistryWorld::Tick() {
  ++tick_;
  clock_.Advance(faults_ ? microseconds(100) : milliseconds(1));
  if (tick_ % 10 == 0) RETURN_IF_ERROR(Step(registry::TimePassed{}));
  if (rng_.Chance(arrivals_)) RETURN_IF_ERROR(Arrive());
  RETURN_IF_ERROR(RunWorker());
  for (const auto& engine : engines_) engine->RunOnce();
  RETURN_IF_ERROR(ReadAll());
  RETURN_IF_ERROR(BindWaiting());
  return LetGo();
}

absl::Status RegistryWorld::RunWorker() {
  if (worker_->busy()) {
    ASSIGN_OR_RETURN(auto result, worker_->Poll());
    if (result) RETURN_IF_ERROR(Step(registry::WorkDone{*std::move(result)}));
    return absl::OkStatus();
  }
  if (!loader_.HasWork()) return absl::OkStatus();
  std::optional<registry::Work> work;
  RETURN_IF_ERROR(Step(registry::WorkerIdle{}, &work));
  if (work) worker_->Start(*std::move(work));
  return absl::OkStatus();
}

// What the daemon's threads would have told at once.
absl::Status RegistryWorld::LetGo() {
  while (!observed_.empty() || !gone_.empty()) {
    if (!observed_.empty()) {
      registry::AnswerObserved answer = observed_.front();
      observed_.pop_front();
      RETURN_IF_ERROR(Step(std::move(answer)));
    } else {
      const Digest version = gone_.front();
      gone_.pop_front();
      RETURN_IF_ERROR(Step(registry::LastUserGone{version}));
    }
  }
  return absl::OkStatus();
}

bool RegistryWorld::IsQuiet() const {
  if (worker_->busy() || loader_.HasWork() || loader_.WaitsForTime()) return false;
  return std::none_of(told_.begin(), told_.end(), [](const auto& version) {
    return version.second == VersionState::kDraining;
  });
}

absl::Status RegistryWorld::TickUntil(TimePoint last, const char* what,
                                      const std::function<bool()>& done) {
  while (!done()) {
    if (clock_.Now() > last) {
      return absl::InternalError(absl::StrCat(
          what, ": ", calls_.size(), " calls, ", waiting_.size(), " waiting, worker ",
          worker_->busy() ? "busy" : "idle", loader_.HasWork() ? ", there is work" : "",
          loader_.WaitsForTime() ? ", time is waited for" : "",
          " after a long time without faults"));
    }
    RETURN_IF_ERROR(Tick());
  }
  return absl::OkStatus();
}

// First with requests, which canaries are judged by, then without.
absl::Status RegistryWorld::SettleUntilQuiet(const char* what) {
  const TimePoint last = clock_.Now() + kQuietAfter * plan_.registry.canary.longest;
  arrivals_ = plan_.arrivals / 4;
  RETURN_IF_ERROR(TickUntil(last, what, [this] { return IsQuiet(); }));
  arrivals_ = 0;
  RETURN_IF_ERROR(
      TickUntil(last, what, [this] { return calls_.empty() && waiting_.empty() && IsQuiet(); }));
  return CheckQuiet();
}

absl::Status RegistryWorld::CheckQuiet() {
  for (const registry::Ticket& ticket : tickets_) {
    if (!ticket->has_value()) return Broken(14, "a load was never decided");
  }
  if (!unnoted_.empty()) return Broken(12, "a rollback was never noted");
  if (routes_.swap) return Broken(15, "a swap never ended");
  for (const auto& entry : loader_.table().entries()) {
    if (entry.info.dir == newest_ && entry.info.ending == Ending::kTooSlow) {
      return Broken(16, absl::StrCat(newest_, " was too slow, and is not tried again"));
    }
  }
  return absl::OkStatus();
}

absl::Status RegistryWorld::RunSettling() {
  faults_ = worker_->faults = false;
  RETURN_IF_ERROR(SettleUntilQuiet("after the faults"));
  Checkpoint good;
  good.evaluation = 0.95;
  RETURN_IF_ERROR(Publish(good, Origin::kPublished));
  RETURN_IF_ERROR(SettleUntilQuiet("after a good version"));
  if (routes_.live == nullptr || routes_.live->digest != worker_->disk.back().version) {
    return Broken(15, absl::StrCat("a good version is not live: ", newest_));
  }
  return absl::OkStatus();
}

}  // namespace llava::simulation
