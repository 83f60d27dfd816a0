// The registry with a running engine, the fake executor and a loader that does what it is told.
#include "server/registry/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/fake_executor.h"

namespace llava::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Version of folder "a" is Sha256Of("a").
class FakeLoader final : public ModelLoader {
 public:
  absl::StatusOr<Digest> Identify(const std::string& dir) override {
    if (torn == dir) return absl::DataLossError("manifest.json is cut");
    return Sha256Of(dir);
  }
  absl::Status Verify(const std::string& dir) override {
    ++verified[dir];
    return failing == dir ? absl::DataLossError("model.safetensors has another hash")
                          : absl::OkStatus();
  }
  absl::StatusOr<LoadedVersion> Load(const std::string& dir) override {
    if (too_big == dir) return absl::ResourceExhaustedError("needs 9 GiB, 1 GiB is free");
    LoadedVersion loaded;
    loaded.models.push_back(std::make_shared<testing::FakeModel>(Sha256Of(dir)));
    PreparedProbe probe{.name = "a red square", .request = {}, .expected = {}};
    probe.request.prompt_ids = {1, 2, 3};
    probe.request.sampling.max_tokens = 4;
    probe.request.version = Sha256Of(dir);
    probe.expected = testing::FakeAnswer(probe.request, 0, 4);
    if (wrong == dir) ++probe.expected[2];
    loaded.probes.push_back(std::move(probe));
    return loaded;
  }

  std::string torn, failing, too_big, wrong;
  std::map<std::string, int> verified;
};

class RegistryTest : public ::testing::Test {
 protected:
  RegistryTest() {
    // Probes carry a deadline: both clocks begin at the same time.
    clock_.Advance(real_clock_.Now() - clock_.Now());
    engine::EngineOptions options;
    options.scheduler.num_blocks = 32;
    auto executor = std::make_unique<testing::FakeExecutor>(32);
    engine_ = std::make_unique<engine::Engine>(options, std::move(executor), &real_clock_, nullptr);
    engine_->Start();
    Make({});
  }
  ~RegistryTest() override {
    if (registry_) registry_->RunOnce();
    registry_.reset();
    engine_->Stop();
  }

  void Make(const CanaryOptions& canary, bool keep_previous = true) {
    registry_ = std::make_unique<Registry>(
        RegistryOptions{"llava", canary, keep_previous}, &loader_, std::vector{engine_.get()},
        &clock_, [this](const VersionInfo& info) {
          story_.push_back(Name(info.digest) + ":" + StateName(info.state));
        });
  }
  static std::string Name(const Digest& digest) {
    for (const char* name : {"a", "b", "c", "d"}) {
      if (Sha256Of(name) == digest) return name;
    }
    return "?";
  }
  void Load(const std::string& dir, bool again = false) {
    ASSERT_TRUE(registry_->Load(dir, again).ok());
    registry_->RunOnce();
  }
  std::string Live(absl::string_view tenant = "t") {
    auto model = registry_->Find("", tenant);
    return model.ok() ? Name((*model)->digest) : std::string(model.status().message());
  }
  VersionInfo Info(const std::string& dir) {
    for (const VersionInfo& info : registry_->Versions()) {
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
  FakeLoader loader_;
  std::unique_ptr<engine::Engine> engine_;
  std::vector<std::string> story_;
  std::unique_ptr<Registry> registry_;
};

TEST_F(RegistryTest, TheFirstVersionGoesLiveThroughAllStates) {
  EXPECT_THAT(Live(), HasSubstr("no version of llava is live yet"));
  Load("a");
  EXPECT_EQ(Live(), "a");
  EXPECT_THAT(story_, ElementsAre("a:discovered", "a:verifying", "a:loading", "a:warming",
                                  "a:probing", "a:live"));
  EXPECT_EQ(registry_->Find("other", "").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RegistryTest, WhatCannotBeVouchedForNeverTouchesTheLiveVersion) {
  Load("a");
  loader_.torn = "b";
  Load("b");
  EXPECT_THAT(Info("b").reason, HasSubstr("manifest.json is cut"));
  loader_.failing = "c";
  Load("c");
  EXPECT_THAT(Info("c").reason, HasSubstr("another hash"));
  loader_.too_big = "d";
  Load("d");
  EXPECT_THAT(Info("d").reason, HasSubstr("needs 9 GiB"));
  for (const char* dir : {"b", "c", "d"}) EXPECT_EQ(Info(dir).state, VersionState::kRejected);
  EXPECT_EQ(Live(), "a");
}

TEST_F(RegistryTest, AFailingProbeRejectsAndFrees) {
  Load("a");
  loader_.wrong = "b";
  Load("b");
  EXPECT_EQ(Info("b").state, VersionState::kRejected);
  EXPECT_THAT(Info("b").reason, HasSubstr("probe \"a red square\" answered ids ["));
  EXPECT_EQ(Live(), "a");
  // It is gone from the engine: loading it again does not meet itself there.
  loader_.wrong.clear();
  Load("b", /*again=*/true);
  EXPECT_EQ(Info("b").state, VersionState::kCanary);
}

TEST_F(RegistryTest, ARejectedVersionIsNotTriedAgainUnlessAsked) {
  loader_.failing = "a";
  Load("a");
  Load("a");
  EXPECT_EQ(loader_.verified["a"], 1);
  loader_.failing.clear();
  Load("a", /*again=*/true);
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
  for (int i = 0; i < 20; ++i) registry_->Observe(Sha256Of("b"), {.first_token_seconds = 0.1});
  EXPECT_EQ(Live(), "b");
  EXPECT_EQ(Info("a").state, VersionState::kKept);
  ASSERT_TRUE(registry_->RollBack("the answers are odd").ok());
  EXPECT_EQ(Live(), "a");  // at once
  registry_->RunOnce();
  EXPECT_EQ(Info("b").state, VersionState::kRejected);
  EXPECT_EQ(Info("b").reason, "the answers are odd");
  EXPECT_EQ(registry_->RollBack("").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RegistryTest, AWorseCanaryIsRolledBackByItself) {
  Make(Canary());
  Load("a");
  Load("b");
  for (int i = 0; i < 6; ++i) registry_->Observe(Sha256Of("b"), {.empty = true});
  EXPECT_EQ(Live(), "a");
  registry_->RunOnce();
  EXPECT_EQ(Info("b").state, VersionState::kRejected);
  EXPECT_THAT(Info("b").reason, HasSubstr("rolled back: empty or degenerate answers 1, live 0"));
  EXPECT_EQ(Info("a").traffic, 1);
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
  CanaryOptions at_once;
  at_once.traffic = 0;
  Make(at_once, /*keep_previous=*/false);
  Load("a");
  auto call = registry_->Find("", "t");
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

TEST_F(RegistryTest, LoadingTheKeptVersionMakesItLive) {
  CanaryOptions at_once;
  at_once.traffic = 0;
  Make(at_once);
  Load("a");
  Load("b");
  Load("a");
  EXPECT_EQ(Live(), "a");
  EXPECT_EQ(Info("b").state, VersionState::kKept);
  EXPECT_EQ(loader_.verified["a"], 1);
}

TEST_F(RegistryTest, ItsOwnThreadLoadsAndStops) {
  registry_->Start();
  ASSERT_TRUE(registry_->Load("a", false).ok());
  registry_->Stop();
  registry_->RunOnce();
  EXPECT_EQ(Live(), "a");
}

}  // namespace
}  // namespace llava::registry
