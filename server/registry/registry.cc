#include "server/registry/registry.h"

#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"
#include "model/config/hub_folder.h"

namespace llava::registry {
namespace {

// How often the thread looks whether a canary's time is over.
constexpr Duration kTimePasses = std::chrono::seconds(1);

}  // namespace

Registry::Registry(const RegistryOptions& options, ModelLoader* loader, const Clock* clock,
                   OnChange on_change)
    : clock_(clock),
      on_change_(std::move(on_change)),
      directory_(options.model_name, options.model_aliases, clock,
                 [this](const Digest& version, const Observation& observation) {
                   Step(AnswerObserved{version, observation});
                 }),
      worker_(
          options, loader, clock, [this] { return CheckNotStopping(); },
          [this](const Digest& version) { Step(LastUserGone{version}); }),
      loader_(options) {}

Registry::~Registry() {
  LLAVA_CHECK(!thread_.joinable());
  // Dropped without the lock, which their last user takes.
  const VersionDirectory::Exchanged routes = directory_.Exchange({});
  std::vector<std::shared_ptr<const ServedModel>> served;
  {
    MutexLock lock(&mutex_);
    served = loader_.TakeServed();
  }
}

void Registry::Start() {
  thread_ = std::jthread([this] { Run(); });
}

void Registry::BeginStop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  Step(StopRequest{});
}

// Rolled back versions are noted and unused ones freed, also when the thread was gone already.
void Registry::Stop() {
  BeginStop();
  if (thread_.joinable()) thread_.join();
  RunOnce();
}

// What a step changes is seen by requests before it is told. What goes is dropped without the lock,
// because that may free a version.
StepOutput Registry::Step(LoaderEvent event) {
  StepOutput output;
  VersionDirectory::Exchanged exchanged;
  {
    MutexLock lock(&mutex_);
    output = loader_.Step({clock_->Now(), clock_->UnixMillis()}, std::move(event));
    if (output.routes) exchanged = directory_.Exchange(*std::exchange(output.routes, std::nullopt));
    for (const VersionChange& change : output.changes) {
      if (on_change_) on_change_(change.info, change.cause);
    }
    changed_.NotifyAll();
  }
  for (const auto& then : exchanged.waiting) then();
  return output;
}

void Registry::Run() {
  while (AwaitWork()) RunOnce();
}

bool Registry::AwaitWork() {
  MutexLock lock(&mutex_);
  while (!loader_.HasWork()) {
    if (stopping_) return false;
    if (!loader_.WaitsForTime()) {
      changed_.Wait(&mutex_);
    } else if (!changed_.WaitUntil(&mutex_, clock_->Now() + kTimePasses)) {
      return true;
    }
  }
  return true;
}

void Registry::RunOnce() {
  Step(TimePassed{});
  for (;;) {
    const StepOutput output = Step(WorkerIdle{});
    if (!output.work) return;
    Step(WorkDone{worker_.Perform(*output.work)});
  }
}

absl::Status Registry::CheckNotStopping() const {
  MutexLock lock(&mutex_);
  return stopping_ ? absl::UnavailableError("the server is stopping") : absl::OkStatus();
}

absl::StatusOr<Ticket> Registry::Load(const std::string& dir, Origin origin) {
  auto ticket = std::make_shared<std::optional<LoadOutcome>>();
  ASSIGN_OR_RETURN(const std::string folder, model::SnapshotOf(dir));
  const absl::Status status = Step(LoadRequest{folder, origin, ticket}).status;
  if (!status.ok()) return status;
  return ticket;
}

std::optional<LoadOutcome> Registry::Await(const Ticket& ticket, TimePoint until) {
  MutexLock lock(&mutex_);
  while (!ticket->has_value()) {
    if (!changed_.WaitUntil(&mutex_, until)) break;
  }
  return *ticket;
}

VersionsSnapshot Registry::Snapshot() const {
  MutexLock lock(&mutex_);
  return loader_.table().Snapshot();
}

bool Registry::WaitForChange(std::uint64_t seen, TimePoint until) {
  MutexLock lock(&mutex_);
  while (loader_.table().changes() <= seen) {
    if (!changed_.WaitUntil(&mutex_, until)) return loader_.table().changes() > seen;
  }
  return true;
}

}  // namespace llava::registry
