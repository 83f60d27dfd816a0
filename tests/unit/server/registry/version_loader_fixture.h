// The loader alone, for its tests: events in, work and routes out, no engine and no thread.
#ifndef LLAVA_TESTS_UNIT_SERVER_REGISTRY_VERSION_LOADER_FIXTURE_H_
#define LLAVA_TESTS_UNIT_SERVER_REGISTRY_VERSION_LOADER_FIXTURE_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/registry/invariants.h"
#include "server/registry/version_loader.h"

namespace llava::registry {

// Checks the invariants after every step.
class VersionLoaderTest : public ::testing::Test {
 protected:
  VersionLoaderTest() {
    options_.model_name = "llava";
    options_.canary.min_answers = 5;
    options_.canary.enough_answers = 20;
    options_.published = "root";
  }
  absl::Status Step(LoaderEvent event) {
    if (!loader_) loader_.emplace(options_);
    StepOutput output = loader_->Step(time_, std::move(event));
    if (output.routes) routes_ = *std::move(output.routes);
    work_ = std::move(output.work);
    EXPECT_TRUE(CheckInvariants(*loader_, routes_).ok()) << CheckInvariants(*loader_, routes_);
    return output.status;
  }
  Ticket Load(const std::string& dir, Origin origin = Origin::kPublished) {
    auto ticket = std::make_shared<std::optional<LoadOutcome>>();
    const absl::Status status = Step(LoadRequest{dir, origin, ticket});
    EXPECT_TRUE(status.ok()) << status;
    return ticket;
  }
  static VersionIdentity Identity(const std::string& dir) {
    VersionIdentity identity;
    identity.digest = Sha256Of(dir);
    return identity;
  }
  WorkResult ResultOf(const IdentifyWork& work) {
    Identified identified{Identity(work.dir), std::nullopt};
    if (work.forget_rollback) notes_.erase(Sha256Of(work.dir));
    if (notes_.contains(Sha256Of(work.dir))) identified.rollback_note = "bad";
    return identified;
  }
  WorkResult ResultOf(const StageWork& work) {
    stages_.push_back(work.dir + ":" + StateName(work.stage) + (work.beside ? " beside" : ""));
    StageDone done;
    if (work.stage == fails_in_ && work.dir == fails_) done.status = absl::DataLossError("bad");
    if (work.stage == VersionState::kProbing && done.status.ok()) {
      auto served = std::make_shared<ServedModel>();
      served->digest = work.version;
      done.served = std::move(served);
    }
    return done;
  }
  WorkResult ResultOf(const FreeWork& work) { return Freed{work.version}; }
  WorkResult ResultOf(const NoteWork& work) {
    notes_[work.version] = work.reason;
    return Noted{work.version, absl::OkStatus()};
  }
  WorkResult ResultOf(const ListWork&) { return Listed{listed_}; }

  // Does the next work; false when there is none.
  bool WorkOnce() {
    if (!Step(WorkerIdle{}).ok() || !work_) return false;
    const Work work = *std::move(work_);
    EXPECT_TRUE(
        Step(WorkDone{std::visit([this](const auto& w) { return ResultOf(w); }, work)}).ok());
    return true;
  }
  void WorkAll() {
    while (WorkOnce()) continue;
  }
  void LastUserLeaves(const std::string& dir) {
    ASSERT_TRUE(Step(LastUserGone{Sha256Of(dir)}).ok());
  }
  const VersionInfo& Info(const std::string& dir) {
    for (const auto& entry : loader_->table().entries()) {
      if (entry.info.dir == dir) return entry.info;
    }
    ADD_FAILURE() << dir << " is unknown";
    static const VersionInfo none;
    return none;
  }
  void Answers(const std::string& dir, int count, const Observation& observation) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(Step(AnswerObserved{Sha256Of(dir), observation}).ok());
    }
  }
  void LoadLiveAndCanary() {
    Load("a");
    WorkAll();
    Load("b");
    WorkAll();
    ASSERT_EQ(Info("b").state, VersionState::kCanary);
  }

  RegistryOptions options_;
  std::optional<VersionLoader> loader_;
  StepTime time_{TimePoint{} + std::chrono::hours(1), 0};
  Routes routes_;
  std::optional<Work> work_;
  std::map<Digest, std::string> notes_;
  std::vector<std::string> stages_, listed_;
  std::string fails_;
  VersionState fails_in_ = VersionState::kLoading;
};

}  // namespace llava::registry

#endif  // LLAVA_TESTS_UNIT_SERVER_REGISTRY_VERSION_LOADER_FIXTURE_H_
