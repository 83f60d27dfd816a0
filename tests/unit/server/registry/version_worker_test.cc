#include "server/registry/version_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "tests/support/fake_executor.h"
#include "tests/support/fake_loader.h"

namespace llava::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class VersionWorkerTest : public ::testing::Test {
 protected:
  VersionWorkerTest() {
    engine::EngineOptions options;
    options.scheduler.num_blocks = 32;
    engine_ = std::make_unique<engine::Engine>(options, std::make_unique<testing::FakeExecutor>(32),
                                               &clock_, nullptr);
    engine_->Start();
    loader_ = std::make_unique<testing::FakeLoader>(engine_.get());
    worker_ = std::make_unique<VersionWorker>(
        RegistryOptions{.model_name = "llava", .canary = {}, .published = ""}, loader_.get(),
        &clock_, [this] { return should_continue_; },
        [this](const Digest& version) { unused_.push_back(version); });
  }
  ~VersionWorkerTest() override { engine_->Stop(); }

  StageDone Stage(VersionState stage) {
    return std::get<StageDone>(worker_->Perform(StageWork{stage, "a", Sha256Of("a"), false}));
  }
  absl::Status LoadAndProbe() {
    for (const VersionState stage :
         {VersionState::kVerifying, VersionState::kLoading, VersionState::kWarming}) {
      const absl::Status status = Stage(stage).status;
      if (!status.ok()) return status;
    }
    return Stage(VersionState::kProbing).status;
  }
  void Free() {
    const auto freed = std::get<Freed>(worker_->Perform(FreeWork{Sha256Of("a")}));
    EXPECT_EQ(freed.version, Sha256Of("a"));
  }

  RealClock clock_;
  absl::Status should_continue_;
  std::vector<Digest> unused_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<testing::FakeLoader> loader_;
  std::unique_ptr<VersionWorker> worker_;
};

TEST_F(VersionWorkerTest, WhatItServesTellsWhenItsLastUserHasGone) {
  ASSERT_TRUE(Stage(VersionState::kLoading).status.ok());
  ASSERT_TRUE(Stage(VersionState::kWarming).status.ok());
  auto served = Stage(VersionState::kProbing).served;
  ASSERT_NE(served, nullptr);
  EXPECT_EQ(served->name, "llava");
  EXPECT_EQ(served->version, Sha256Of("a").Hex());
  auto user = served;
  served.reset();
  EXPECT_TRUE(unused_.empty());
  user.reset();
  EXPECT_THAT(unused_, ElementsAre(Sha256Of("a")));
  Free();
  EXPECT_TRUE(LoadAndProbe().ok());  // it is in no engine any more
  Free();
}

TEST_F(VersionWorkerTest, AFailedProbeServesNothing) {
  loader_->wrong = "a";
  EXPECT_THAT(LoadAndProbe().message(), HasSubstr("probe \"a red square\" answered ids ["));
  Free();
}

TEST_F(VersionWorkerTest, WhatIsThrownFailsTheVersionAndNotTheProcess) {
  loader_->before_load = [](bool) { throw std::runtime_error("a bug in a library"); };
  const absl::Status thrown = Stage(VersionState::kLoading).status;
  EXPECT_EQ(thrown.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(thrown.message(), HasSubstr("a bug in a library"));
  loader_->before_load = [](bool) { throw std::bad_alloc(); };
  EXPECT_EQ(Stage(VersionState::kLoading).status.code(), absl::StatusCode::kResourceExhausted);
  loader_->before_load = nullptr;
  EXPECT_TRUE(LoadAndProbe().ok());
  Free();
}

TEST_F(VersionWorkerTest, NothingOfALoadIsBegunWhileTheServerStops) {
  should_continue_ = absl::UnavailableError("the server is stopping");
  const auto identified = std::get<Identified>(worker_->Perform(IdentifyWork{"a"}));
  EXPECT_EQ(identified.identity.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Stage(VersionState::kLoading).status.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace llava::registry
