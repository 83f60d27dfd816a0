#include "tests/simulation/registry_worker.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "tests/support/fake_executor.h"

namespace llava::simulation {

using registry::StageDone;
using registry::VersionState;
using registry::WorkResult;

SimulatedWorker::SimulatedWorker(Rng* rng, ManualClock* clock, std::vector<engine::Engine*> engines,
                                 int context_tokens,
                                 std::function<void(const Digest&)> on_last_user)
    : rng_(rng),
      clock_(clock),
      engines_(std::move(engines)),
      context_tokens_(context_tokens),
      on_last_user_(std::move(on_last_user)) {}

void SimulatedWorker::Start(registry::Work work) {
  LLAVA_CHECK(!busy());
  work_ = std::move(work);
  due_ = clock_->Now() + std::chrono::microseconds(rng_->Between(0, 20'000));
  begun_ = removing_ = false;
  pending_ = 0;
  held_.clear();
  failure_ = absl::OkStatus();
  answers_.clear();
}

SimulatedWorker::Result SimulatedWorker::Poll() {
  if (!busy() || clock_->Now() < due_) return std::nullopt;
  Result result =
      std::visit([this](const auto& of_its_kind) { return PollOf(of_its_kind); }, *work_);
  if (result.ok() && *result) work_.reset();
  return result;
}

const Checkpoint* SimulatedWorker::Find(const Digest& version) const {
  for (const Checkpoint& checkpoint : disk) {
    if (checkpoint.version == version) return &checkpoint;
  }
  return nullptr;
}

Checkpoint* SimulatedWorker::At(const std::string& dir) {
  const auto found =
      std::find_if(disk.begin(), disk.end(), [&](const auto& other) { return other.dir == dir; });
  LLAVA_CHECK(found != disk.end());
  return &*found;
}

bool SimulatedWorker::Fails(Checkpoint* checkpoint, VersionState stage) const {
  if (checkpoint->fails_in != stage) return false;
  if (checkpoint->fails_once) checkpoint->fails_in = VersionState::kFreed;
  return true;
}

SimulatedWorker::Result SimulatedWorker::PollOf(const registry::IdentifyWork& work) {
  Checkpoint* checkpoint = At(work.dir);
  registry::Identified result{absl::DataLossError("simulated: the manifest is cut"), {}};
  if (Fails(checkpoint, VersionState::kDiscovered)) return WorkResult(std::move(result));
  registry::VersionIdentity identity;
  identity.digest = checkpoint->version;
  identity.exams["scenes"] = checkpoint->evaluation;
  result.identity = std::move(identity);
  if (work.forget_rollback) notes.erase(checkpoint->version);
  const auto note = notes.find(checkpoint->version);
  if (note != notes.end()) result.rollback_note = note->second;
  return WorkResult(std::move(result));
}

SimulatedWorker::Result SimulatedWorker::PollOf(const registry::StageWork& work) {
  if (!begun_ && Fails(At(work.dir), work.stage)) {
    return WorkResult(StageDone{absl::InternalError("simulated: a bad checkpoint"), 0, nullptr});
  }
  switch (work.stage) {
    case VersionState::kVerifying:
      return WorkResult(StageDone{});
    case VersionState::kLoading:
      return PollLoading(work);
    default:
      return PollAnswers(work);
  }
}

SimulatedWorker::Result SimulatedWorker::PollLoading(const registry::StageWork& work) {
  if (!begun_) {
    begun_ = true;
    pending_ = engines_.size();
    for (engine::Engine* engine : engines_) {
      engine->AddVersion(std::make_shared<testing::FakeModel>(work.version),
                         [this, engine](absl::Status status) {
                           --pending_;
                           if (status.ok()) {
                             held_.push_back(engine);
                           } else {
                             failure_ = std::move(status);
                           }
                         });
    }
  }
  if (pending_ > 0 && !removing_) return std::nullopt;
  if (failure_.ok()) return WorkResult(StageDone{absl::OkStatus(), 1000, nullptr});
  if (!PollRemoval(work.version)) return std::nullopt;
  return WorkResult(StageDone{failure_, 0, nullptr});
}

// From the engines in held_; true when all have let it go.
bool SimulatedWorker::PollRemoval(const Digest& version) {
  if (!removing_) {
    removing_ = true;
    pending_ = held_.size();
    for (engine::Engine* engine : held_) {
      engine->RemoveVersion(version, [this](const absl::Status&) { --pending_; });
    }
  }
  return pending_ == 0;
}

SimulatedWorker::Result SimulatedWorker::PollAnswers(const registry::StageWork& work) {
  if (!begun_) {
    begun_ = true;
    for (engine::Engine* engine : engines_) {
      ClientSpec spec;
      spec.request.version = work.version;
      spec.request.prompt_ids = {1, 2, 3};
      spec.request.sampling.max_tokens = 3;
      spec.request.arrival = clock_->Now();
      spec.request.priority = scheduling::Priority::kLow;
      auto client = Client::Send(*engine, {}, spec, context_tokens_);
      if (!client.ok()) return WorkResult(StageDone{client.status(), 0, nullptr});
      answers_.push_back(*std::move(client));
    }
  }
  absl::Status status;
  bool all_ended = true;
  for (Client& client : answers_) {
    RETURN_IF_ERROR(client.ReadReady());
    all_ended &= client.ended();
    if (client.ended()) status.Update(client.end().status);
  }
  if (!all_ended) return std::nullopt;
  const bool probed = work.stage == VersionState::kProbing && status.ok();
  return WorkResult(StageDone{status, 0, probed ? MakeServed(work.version) : nullptr});
}

std::shared_ptr<const registry::ServedModel> SimulatedWorker::MakeServed(
    const Digest& version) const {
  auto* model =
      new registry::ServedModel{"llava", {}, version.Hex(), version, "float32", nullptr, engines_};
  return std::shared_ptr<const registry::ServedModel>(
      model, [on_last_user = on_last_user_, version](const registry::ServedModel* unused) {
        delete unused;
        on_last_user(version);
      });
}

SimulatedWorker::Result SimulatedWorker::PollOf(const registry::FreeWork& work) {
  if (!begun_) {
    begun_ = true;
    held_ = engines_;
  }
  if (!PollRemoval(work.version)) return std::nullopt;
  return WorkResult(registry::Freed{work.version});
}

SimulatedWorker::Result SimulatedWorker::PollOf(const registry::NoteWork& work) {
  if (faults && rng_->Chance(0.2)) {
    return WorkResult(registry::Noted{work.version, absl::InternalError("simulated: disk full")});
  }
  notes[work.version] = work.reason;
  return WorkResult(registry::Noted{work.version, absl::OkStatus()});
}

SimulatedWorker::Result SimulatedWorker::PollOf(const registry::ListWork&) {
  registry::Listed listed;
  for (auto at = disk.rbegin(); at != disk.rend(); ++at) listed.dirs.push_back(at->dir);
  return WorkResult(std::move(listed));
}

}  // namespace llava::simulation
