// The registry with a running engine, the fake executor and a loader that does what it is told.
#include "server/registry/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "server/registry/published.h"
#include "server/scheduling/admission.h"
#include "tests/support/fake_executor.h"
#include "tests/support/fake_loader.h"
#include "tests/support/temp_dir.h"

namespace llava::registry {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RegistryTest : public ::testing::Test {
 protected:
  RegistryTest() {
    // Probes carry a deadline: both clocks begin at the same time.
    clock_.Advance(real_clock_.Now() - clock_.Now());
    MakeEngine();
    Make({});
  }
  void MakeEngine() {
    engine::EngineOptions options;
    options.scheduler.num_blocks = 32;
    auto executor = std::make_unique<testing::FakeExecutor>(32);
    engine_ = std::make_unique<engine::Engine>(options, std::move(executor), &real_clock_, nullptr);
    engine_->Start();
    loader_ = std::make_unique<testing::FakeLoader>(engine_.get());
  }
  void Restart(const CanaryOptions& canary, const std::string& published) {
    registry_.reset();
    engine_->Stop();
    MakeEngine();
    Make(canary, true, false, published);
  }
  ~RegistryTest() override {
    if (registry_) registry_->RunOnce();
    registry_.reset();
    engine_->Stop();
  }

  void Make(const CanaryOptions& canary, bool keep_previous = true, bool swap = false,
            const std::string& published = "") {
    RegistryOptions options;
    options.model_name = "llava";
    options.canary = canary;
    options.keep_previous = keep_previous;
    options.swap = swap;
    options.published = published;
    registry_ = std::make_unique<Registry>(
        options, loader_.get(), &clock_, [this](const VersionInfo& info, const std::string&) {
          story_.push_back(Name(info.identity.digest) + ":" + StateName(info.state));
        });
  }
  // No canary: a version is live when it is loaded.
  static CanaryOptions AtOnce() {
    CanaryOptions canary;
    canary.traffic = 0;
    return canary;
  }
  static std::string Name(const Digest& digest) {
    for (const char* name : {"a", "b", "c", "d"}) {
      if (Sha256Of(name) == digest) return name;
    }
    return "?";
  }
  void Load(const std::string& dir, Origin origin = Origin::kPublished) {
    ASSERT_TRUE(registry_->Load(dir, origin).ok());
    registry_->RunOnce();
  }
  std::string Live(absl::string_view tenant = "t") {
    auto model = registry_->directory().Find("", tenant);
    return model.ok() ? Name((*model)->digest) : std::string(model.status().message());
  }
  VersionInfo Info(const std::string& dir) {
    for (const VersionInfo& info : registry_->Snapshot().versions) {
      if (info.dir == dir) return info;
    }
    ADD_FAILURE() << "no version of " << dir;
    return {};
  }
  static CanaryOptions Canary() {
    CanaryOptions canary;
    canary.traffic = 0.3;
    canary.min_answers = 5;
    canary.enough_answers = 20;
    return canary;
  }

  RealClock real_clock_;
  ManualClock clock_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<testing::FakeLoader> loader_;
  std::vector<std::string> story_;
  std::unique_ptr<Registry> registry_;
};

TEST_F(RegistryTest, TheFirstVersionGoesLiveThroughAllStates) {
  EXPECT_THAT(Live(), HasSubstr("no version of llava is live yet"));
  Load("a");
  EXPECT_EQ(Live(), "a");
  EXPECT_THAT(story_, ElementsAre("a:discovered", "a:verifying", "a:loading", "a:warming",
                                  "a:probing", "a:live"));
  EXPECT_EQ(registry_->directory().Find("other", "").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RegistryTest, WhatCannotBeVouchedForNeverTouchesTheLiveVersion) {
  Load("a");
  loader_->torn = "b";
  Load("b");
  EXPECT_THAT(Info("b").reason, HasSubstr("manifest.json is cut"));
  loader_->failing = "c";
  Load("c");
  EXPECT_THAT(Info("c").reason, HasSubstr("another hash"));
  loader_->too_big = "d";
  Load("d");
  EXPECT_THAT(Info("d").reason, HasSubstr("needs 9 GiB"));
  for (const char* dir : {"b", "c", "d"}) EXPECT_EQ(Info(dir).state, VersionState::kRejected);
  EXPECT_EQ(Live(), "a");
}

TEST_F(RegistryTest, AFailingProbeRejectsAndFrees) {
  Load("a");
  loader_->wrong = "b";
  Load("b");
  EXPECT_EQ(Info("b").state, VersionState::kRejected);
  EXPECT_THAT(Info("b").reason, HasSubstr("probe \"a red square\" answered ids ["));
  EXPECT_EQ(Live(), "a");
  // It is gone from the engine: loading it again does not meet itself there.
  loader_->wrong.clear();
  Load("b", Origin::kOperator);
  EXPECT_EQ(Info("b").state, VersionState::kCanary);
}

TEST_F(RegistryTest, ARejectedVersionIsNotTriedAgainUnlessAsked) {
  loader_->failing = "a";
  Load("a");
  Load("a");
  EXPECT_EQ(loader_->verified["a"], 1);
  loader_->failing.clear();
  Load("a", Origin::kOperator);
  EXPECT_EQ(Live(), "a");
}

TEST_F(RegistryTest, ACanaryIsStickyAndGetsItsShare) {
  Make(Canary());
  Load("a");
  Load("b");
  EXPECT_EQ(Info("b").state, VersionState::kCanary);
  int canary = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::string tenant = std::to_string(i);
    const std::string version = Live(tenant);
    EXPECT_EQ(version, Live(tenant));
    if (version == "b") ++canary;
  }
  EXPECT_NEAR(canary, 300, 60);
  ASSERT_TRUE(registry_->SetTraffic(0).ok());
  EXPECT_EQ(Live("1"), "a");
  EXPECT_EQ(registry_->SetTraffic(1.5).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RegistryTest, AGoodCanaryIsPromotedAndTheOldOneKept) {
  Make(Canary());
  Load("a");
  Load("b");
  for (int i = 0; i < 20; ++i)
    registry_->directory().Observe(Sha256Of("b"), {.first_token_seconds = 0.1});
  EXPECT_EQ(Live(), "b");
  EXPECT_EQ(Info("a").state, VersionState::kKept);
  ASSERT_TRUE(registry_->RollBack("the answers are odd").ok());
  EXPECT_EQ(Live(), "a");  // at once
  registry_->RunOnce();
  EXPECT_EQ(Info("b").state, VersionState::kRejected);
  EXPECT_EQ(Info("b").reason, "rolled back: the answers are odd");
  EXPECT_EQ(registry_->RollBack("").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RegistryTest, AWorseCanaryIsRolledBackByItself) {
  Make(Canary());
  Load("a");
  Load("b");
  for (int i = 0; i < 6; ++i) registry_->directory().Observe(Sha256Of("b"), {.empty = true});
  EXPECT_EQ(Live(), "a");
  registry_->RunOnce();
  EXPECT_EQ(Info("b").state, VersionState::kRejected);
  EXPECT_THAT(Info("b").reason, HasSubstr("rolled back: empty or degenerate answers 1, live 0"));
  EXPECT_EQ(Info("a").traffic, 1);
}

TEST_F(RegistryTest, ACanaryWithAWorseEvaluationIsRolledBackAtOnce) {
  Make(Canary());
  loader_->right = {{"a", 0.8}, {"b", 0.65}, {"c", 0.75}};
  Load("a");
  Load("b");
  EXPECT_EQ(Info("b").state, VersionState::kRejected);
  EXPECT_THAT(Info("b").reason, HasSubstr("rolled back: its evaluation says 0.65"));
  EXPECT_THAT(story_, ::testing::Contains("b:canary"));
  Load("c");
  EXPECT_EQ(Info("c").state, VersionState::kCanary);
  Load("d");  // says nothing
  EXPECT_EQ(Info("d").state, VersionState::kCanary);
}

// What was fine-tuned for digits does not know scenes, and was never asked.
TEST_F(RegistryTest, ScoresOfDifferentExamsAreNotCompared) {
  Make(Canary());
  loader_->right = {{"a", 0.99}, {"b", 0.82}};
  Load("a");
  loader_->exam = "digits";
  Load("b");
  EXPECT_EQ(Info("b").state, VersionState::kCanary);
}

TEST_F(RegistryTest, TimePromotesAQuietCanary) {
  Make(Canary());
  Load("a");
  Load("b");
  clock_.Advance(std::chrono::minutes(11));
  registry_->RunOnce();
  EXPECT_EQ(Live(), "b");
}

TEST_F(RegistryTest, AVersionIsFreedWhenItsLastCallEnds) {
  Make(AtOnce(), /*keep_previous=*/false);
  Load("a");
  auto call = registry_->directory().Find("", "t");
  ASSERT_TRUE(call.ok());
  Load("b");
  EXPECT_EQ(Live(), "b");
  EXPECT_EQ(Info("a").state, VersionState::kDraining);
  // The call that began on it still runs on it.
  scheduling::Request request;
  request.version = (*call)->digest;
  request.prompt_ids = {5, 6};
  request.sampling.max_tokens = 3;
  auto stream =
      engine_->Submit({request, {}, [] { return std::make_unique<testing::FakeTextDecoder>(-1); }});
  ASSERT_TRUE(stream.ok());
  absl::Status end;
  while (auto event = stream->Pop()) {
    if (auto* last = std::get_if<engine::End>(&*event)) end = last->status;
  }
  EXPECT_TRUE(end.ok()) << end;
  call->reset();
  registry_->RunOnce();
  EXPECT_EQ(Info("a").state, VersionState::kFreed);
  Load("a");  // and it may come again
  EXPECT_EQ(Live(), "a");
}

TEST_F(RegistryTest, AVersionThatComesAgainWhileItDrainsIsTakenInWhenItIsGone) {
  Make(AtOnce(), /*keep_previous=*/false);
  Load("a");
  auto call = registry_->directory().Find("", "t");
  Load("b");
  ASSERT_EQ(Info("a").state, VersionState::kDraining);
  // `latest` names the old one again, twice; then somebody asks for it.
  Load("a");
  Load("a");
  const auto ticket = registry_->Load("a", Origin::kOperator);
  registry_->RunOnce();
  EXPECT_FALSE(registry_->Await(*ticket, clock_.Now()).has_value());
  EXPECT_EQ(Live(), "b");
  call->reset();
  registry_->RunOnce();
  EXPECT_TRUE(registry_->Await(*ticket, clock_.Now())->status.ok());
  EXPECT_EQ(Live(), "a");
  EXPECT_EQ(Info("b").state, VersionState::kFreed);
}

TEST_F(RegistryTest, ANewerVersionPassesWhatWaitsForADrain) {
  Make(AtOnce(), /*keep_previous=*/false);
  Load("a");
  auto call = registry_->directory().Find("", "t");
  Load("b");
  Load("a");
  Load("c");
  call->reset();
  registry_->RunOnce();
  EXPECT_EQ(Live(), "c");
  EXPECT_EQ(Info("a").state, VersionState::kFreed);
}

TEST_F(RegistryTest, ACanaryGoesWhenTheKeptVersionIsMadeLive) {
  Make(Canary());
  Load("a");
  Load("b");
  ASSERT_TRUE(registry_->Promote().ok());
  Load("c");
  ASSERT_EQ(Info("c").state, VersionState::kCanary);
  Load("a");  // from memory
  EXPECT_EQ(Info("c").state, VersionState::kFreed);
  EXPECT_EQ(Info("b").state, VersionState::kKept);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Live(std::to_string(i)), "a");
}

TEST_F(RegistryTest, LoadingTheKeptVersionMakesItLive) {
  Make(AtOnce());
  Load("a");
  Load("b");
  Load("a");
  EXPECT_EQ(Live(), "a");
  EXPECT_EQ(Info("b").state, VersionState::kKept);
  EXPECT_EQ(loader_->verified["a"], 1);
}

TEST_F(RegistryTest, ItsOwnThreadLoadsAndStops) {
  registry_->Start();
  const auto ticket = registry_->Load("a", Origin::kPublished);
  ASSERT_TRUE(ticket.ok());
  EXPECT_TRUE(registry_->Await(*ticket, TimePoint::max())->status.ok());
  registry_->Stop();
  EXPECT_EQ(Live(), "a");
  EXPECT_EQ(registry_->Load("b", Origin::kPublished).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(RegistryTest, WhatIsQueuedWhenItStopsIsToldSo) {
  const auto ticket = registry_->Load("a", Origin::kPublished);
  ASSERT_TRUE(ticket.ok());
  registry_->Stop();
  EXPECT_EQ(registry_->Await(*ticket, clock_.Now())->status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(RegistryTest, ATicketSaysWhatBecameOfALoad) {
  auto ticket = registry_->Load("a", Origin::kOperator);
  ASSERT_TRUE(ticket.ok());
  EXPECT_FALSE(registry_->Await(*ticket, clock_.Now()).has_value());
  registry_->RunOnce();
  auto outcome = registry_->Await(*ticket, clock_.Now());
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->status.ok()) << outcome->status;
  EXPECT_EQ(outcome->info.state, VersionState::kLive);
  loader_->failing = "b";
  ticket = registry_->Load("b", Origin::kOperator);
  registry_->RunOnce();
  outcome = registry_->Await(*ticket, clock_.Now());
  EXPECT_EQ(outcome->status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(outcome->info.state, VersionState::kRejected);
}

TEST_F(RegistryTest, ANewerVersionPassesThoseThatNobodyAskedFor) {
  auto old = registry_->Load("a", Origin::kPublished);
  auto wanted = registry_->Load("b", Origin::kOperator);
  auto newest = registry_->Load("c", Origin::kPublished);
  registry_->RunOnce();
  EXPECT_EQ(registry_->Await(*old, clock_.Now())->status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(registry_->Await(*wanted, clock_.Now())->status.ok());
  EXPECT_TRUE(registry_->Await(*newest, clock_.Now())->status.ok());
  EXPECT_EQ(loader_->verified["a"], 0);
}

TEST_F(RegistryTest, TheEventLogHoldsTheStory) {
  loader_->failing = "a";
  Load("a");
  const auto events = registry_->Snapshot().events;
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[2].state, VersionState::kRejected);
  EXPECT_EQ(events[2].dir, "a");
  EXPECT_THAT(events[2].reason, HasSubstr("verifying: model.safetensors has another hash"));
}

TEST_F(RegistryTest, UnloadFreesTheKeptVersion) {
  Make(AtOnce());
  Load("a");
  Load("b");
  EXPECT_EQ(registry_->Unload(Sha256Of("b")).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(registry_->Unload(Sha256Of("d")).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(registry_->Unload(Sha256Of("a")).ok());
  registry_->RunOnce();
  EXPECT_EQ(Info("a").state, VersionState::kFreed);
  EXPECT_EQ(registry_->RollBack("no").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RegistryTest, SwapLetsTheOldOneGoFirstAndRequestsWait) {
  Make({}, /*keep_previous=*/false, /*swap=*/true);
  Load("a");
  int called = 0;
  loader_->before_load = [&](bool beside) {
    EXPECT_FALSE(beside);
    EXPECT_EQ(Info("a").state, VersionState::kFreed);
    const auto found = registry_->directory().Find("", "t");
    EXPECT_EQ(found.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(scheduling::RetryAfter(found.status()).has_value());
    EXPECT_TRUE(registry_->directory().AfterSwap([&] {
      ++called;
      EXPECT_EQ(Live(), "b");
    }));
  };
  Load("b");
  EXPECT_EQ(called, 1);
  EXPECT_EQ(Live(), "b");
  EXPECT_FALSE(registry_->directory().AfterSwap([] {}));
}

TEST_F(RegistryTest, ASwapThatFailsBringsTheOldOneBack) {
  Make({}, /*keep_previous=*/false, /*swap=*/true);
  Load("a");
  std::string seen;
  loader_->too_big = "b";
  loader_->before_load = [&](bool) {
    registry_->directory().AfterSwap([&] { seen = Live(); });
    loader_->before_load = nullptr;
  };
  Load("b");
  EXPECT_EQ(Info("b").state, VersionState::kRejected);
  EXPECT_EQ(Live(), "a");
  EXPECT_EQ(seen, "a");
}

TEST_F(RegistryTest, WhileNothingIsLiveOlderVersionsAreTried) {
  test::TempDir root;
  for (const char* name : {"a", "b", "c"}) {
    fs::create_directory(fs::path(root.path()) / name);
    std::ofstream(fs::path(root.path()) / name / "manifest.json") << "{}";
  }
  Make({}, true, false, root.path());
  loader_->failing = root.path() + "/c";
  loader_->torn = root.path() + "/b";
  Load(root.path() + "/c");
  EXPECT_EQ(Live(), "a");
  EXPECT_EQ(Info(root.path() + "/c").state, VersionState::kRejected);
}

TEST_F(RegistryTest, ARollBackJustBeforeTheStopIsNoted) {
  test::TempDir root;
  Make(AtOnce(), true, false, root.path());
  Load("a");
  Load("b");
  registry_->BeginStop();
  ASSERT_TRUE(registry_->RollBack("odd").ok());
  registry_->Stop();
  EXPECT_EQ(ReadRollbackNote(root.path(), Sha256Of("b")), "rolled back: odd");
}

TEST_F(RegistryTest, ARolledBackVersionThatCannotBeNotedIsToldSo) {
  test::TempDir root;
  std::ofstream(root.path() + "/.rolled-back") << "in the way of the folder";
  Make(AtOnce(), true, false, root.path());
  Load("a");
  Load("b");
  ASSERT_TRUE(registry_->RollBack("odd").ok());
  registry_->RunOnce();
  EXPECT_EQ(Live(), "a");
  EXPECT_EQ(Info("b").state, VersionState::kRejected);
  EXPECT_THAT(Info("b").reason, HasSubstr("rolled back: odd; not noted for others: "));
  Load("b");  // it is known here all the same
  EXPECT_EQ(Live(), "a");
}

TEST_F(RegistryTest, ARolledBackVersionIsRememberedAfterARestart) {
  test::TempDir root;
  for (const char* name : {"a", "b"}) {
    fs::create_directory(fs::path(root.path()) / name);
    std::ofstream(fs::path(root.path()) / name / "manifest.json") << "{}";
  }
  Make(AtOnce(), true, false, root.path());
  Load(root.path() + "/a");
  Load(root.path() + "/b");
  auto call = registry_->directory().Find("", "t");
  ASSERT_TRUE(registry_->RollBack("odd").ok());
  registry_->RunOnce();
  // At once: while it is still answering.
  EXPECT_EQ(Info(root.path() + "/b").state, VersionState::kDraining);
  EXPECT_TRUE(ReadRollbackNote(root.path(), Sha256Of("b")).has_value());
  call->reset();
  registry_->RunOnce();
  // Another daemon, or this one after a restart.
  Restart(AtOnce(), root.path());
  Load(root.path() + "/b");
  EXPECT_EQ(Live(), "a");
  EXPECT_THAT(Info(root.path() + "/b").reason, HasSubstr("rolled back before: rolled back: odd"));
  Load(root.path() + "/b", Origin::kOperator);
  EXPECT_EQ(Live(), "b");
}

}  // namespace
}  // namespace llava::registry
