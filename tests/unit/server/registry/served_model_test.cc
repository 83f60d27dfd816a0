// A flip costs those who are reading their answer nothing: the engine is not asked, and no step of
// theirs is left out. Exact, by the order of an engine's steps; no time is measured.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/mutex.h"
#include "server/registry/registry.h"
#include "tests/support/fake_executor.h"
#include "tests/support/fake_loader.h"

namespace llava::registry {
namespace {

constexpr int kBlocks = 64;

// Notes which version each step is of, and holds the engine's thread inside of a step on demand.
class Steps {
 public:
  absl::Status Enter(const scheduling::StepPlan& plan) {
    MutexLock lock(&mutex_);
    versions_.push_back(plan.version);
    changed_.NotifyAll();
    while (held_at_ != 0 && versions_.size() >= held_at_) changed_.Wait(&mutex_);
    return absl::OkStatus();
  }
  // The engine's thread is to stay inside of the step that is `more` from now.
  void HoldAt(std::size_t more) {
    MutexLock lock(&mutex_);
    held_at_ = versions_.size() + more;
  }
  void AwaitHeld() {
    MutexLock lock(&mutex_);
    while (versions_.size() < held_at_) changed_.Wait(&mutex_);
  }
  void Release() {
    MutexLock lock(&mutex_);
    held_at_ = 0;
    changed_.NotifyAll();
  }
  std::vector<Digest> versions() {
    MutexLock lock(&mutex_);
    return versions_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<Digest> versions_;
  std::size_t held_at_ = 0;  // 0: not at all
};

struct Asked {
  std::shared_ptr<const ServedModel> model;  // as a call holds it
  scheduling::Request request;
  engine::TokenStream stream;
};

class FlipTest : public ::testing::Test {
 protected:
  FlipTest() {
    engine::EngineOptions options;
    options.scheduler.num_blocks = kBlocks;
    auto executor = std::make_unique<testing::FakeExecutor>(kBlocks);
    executor->before_forward = [this](const auto& plan) { return steps_.Enter(plan); };
    engine_ = std::make_unique<engine::Engine>(options, std::move(executor), &clock_, nullptr);
    engine_->Start();
    loader_ = std::make_unique<testing::FakeLoader>(engine_.get());
  }
  ~FlipTest() override {
    registry_->RunOnce();
    registry_.reset();
    engine_->Stop();
  }

  // Version a is live, version b a canary that nobody gets yet.
  void Make(bool keep_previous) {
    RegistryOptions options{.model_name = "llava", .canary = {}, .published = ""};
    options.canary.traffic = 1e-9;
    options.keep_previous = keep_previous;
    registry_ = std::make_unique<Registry>(options, loader_.get(), &clock_, nullptr);
    for (const char* dir : {"a", "b"}) {
      ASSERT_TRUE(registry_->Load(dir, Origin::kPublished).ok());
      registry_->RunOnce();
    }
  }

  Asked Ask(std::int32_t token, int max_tokens) {
    auto model = *registry_->directory().Find("", "key");
    scheduling::Request request;
    request.version = model->digest;
    request.prompt_ids = {token, 2, 3};
    request.sampling.max_tokens = max_tokens;
    auto stream = engine_->Submit(
        {request, {}, [] { return std::make_unique<testing::FakeTextDecoder>(-1); }});
    EXPECT_TRUE(stream.ok()) << stream.status();
    return {std::move(model), std::move(request), *std::move(stream)};
  }

  // To its end, which must be a good one.
  static void ExpectWhole(Asked asked) {
    std::vector<std::int32_t> ids;
    while (auto event = asked.stream.Pop()) {
      if (auto* end = std::get_if<engine::End>(&*event)) {
        EXPECT_TRUE(end->status.ok()) << end->status;
        break;
      }
      for (const auto& token : std::get<engine::Delta>(*event).tokens) ids.push_back(token.token);
    }
    EXPECT_EQ(ids, testing::FakeAnswer(asked.request, 0, asked.request.sampling.max_tokens));
  }

  // The most steps of others in a row between the first and the last step of `version`, of those
  // from step `first` on.
  std::size_t LongestPause(const Digest& version, std::size_t first) {
    const std::vector<Digest> all = steps_.versions();
    std::size_t longest = 0;
    std::size_t pause = 0;
    for (std::size_t i = first; i < all.size(); ++i) {
      if (all[i] == version) {
        longest = std::max(longest, pause);
        pause = 0;
      } else {
        ++pause;
      }
    }
    return longest;
  }

  void Flip(bool keep_previous) {
    Make(keep_previous);
    const std::size_t first = steps_.versions().size();
    steps_.HoldAt(6);
    Asked old = Ask(5, 30);
    ASSERT_EQ(old.request.version, Sha256Of("a"));
    steps_.AwaitHeld();
    // The engine stands in the middle of a step, and the flip is done all the same.
    ASSERT_TRUE(registry_->Promote().ok());
    EXPECT_EQ(steps_.versions().size(), first + 6);
    std::vector<Asked> others;
    for (int i = 0; i < 4; ++i) others.push_back(Ask(10 + i, 30));
    for (const Asked& other : others) EXPECT_EQ(other.request.version, Sha256Of("b"));
    steps_.Release();
    ExpectWhole(std::move(old));
    for (Asked& other : others) ExpectWhole(std::move(other));
    // They take turns: nobody waits longer than for one step of the other version.
    EXPECT_LE(LongestPause(Sha256Of("a"), first), 1u);
    EXPECT_LE(LongestPause(Sha256Of("b"), first + 7), 1u);
  }

  RealClock clock_;
  Steps steps_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<testing::FakeLoader> loader_;
  std::unique_ptr<Registry> registry_;
};

TEST_F(FlipTest, LosesNoStepWhenTheOldVersionIsKept) { Flip(/*keep_previous=*/true); }

TEST_F(FlipTest, LosesNoStepWhenTheOldVersionDrains) { Flip(/*keep_previous=*/false); }

TEST_F(FlipTest, ARollbackLosesNoStepEither) {
  Make(/*keep_previous=*/true);
  ASSERT_TRUE(registry_->Promote().ok());
  const std::size_t first = steps_.versions().size();
  steps_.HoldAt(6);
  Asked newer = Ask(5, 30);
  ASSERT_EQ(newer.request.version, Sha256Of("b"));
  steps_.AwaitHeld();
  ASSERT_TRUE(registry_->RollBack("odd").ok());
  Asked older = Ask(6, 30);
  EXPECT_EQ(older.request.version, Sha256Of("a"));
  EXPECT_EQ(steps_.versions().size(), first + 6);
  steps_.Release();
  ExpectWhole(std::move(newer));
  ExpectWhole(std::move(older));
  EXPECT_LE(LongestPause(Sha256Of("b"), first), 1u);
}

}  // namespace
}  // namespace llava::registry
