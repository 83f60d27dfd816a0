#include "tests/support/fake_backend.h"

#include <utility>

#include "base/digest.h"
#include "base/mutex.h"
#include "tests/support/fake_executor.h"

namespace llava::testing {
namespace {

// Computing, as far as the rest of the daemon can see.
void Spend(Duration time) {
  if (time == Duration(0)) return;
  const TimePoint end = RealClock().Now() + time;
  Mutex mutex;
  CondVar never;
  MutexLock lock(&mutex);
  while (never.WaitUntil(&mutex, end)) {
  }
}

// Ids of the fake start here, where the golden checkpoint's vocabulary has words: below are single
// bytes, which a detokenizer holds back.
constexpr std::int32_t kFirstWord = 300;

class WordExecutor final : public engine::Executor {
 public:
  WordExecutor(int num_blocks, Duration step_time) : fake_(num_blocks), step_time_(step_time) {}

  absl::Status AddVersion(std::shared_ptr<const engine::LoadedModel> model) override {
    return fake_.AddVersion(std::move(model));
  }
  void RemoveVersion(const Digest& version) override { fake_.RemoveVersion(version); }
  void DropFeatures(std::span<const scheduling::FeatureId> features) override {
    fake_.DropFeatures(features);
  }
  absl::Status EncodeImages(const scheduling::StepPlan& plan) override {
    return fake_.EncodeImages(plan);
  }
  absl::StatusOr<scheduling::StepResult> Forward(const scheduling::StepPlan& plan) override {
    Spend(step_time_);
    auto result = fake_.Forward(plan);
    if (!result.ok()) return result;
    for (SampledToken& token : result->tokens) {
      token.token += kFirstWord;
      for (TokenLogprob& top : token.top) top.token += kFirstWord;
    }
    return result;
  }

 private:
  FakeExecutor fake_;
  const Duration step_time_;
};

}  // namespace

absl::StatusOr<server::BackendModel> FakeBackend::Load(const server::Config&,
                                                       const server::LoadRequest& request) {
  server::BackendModel model;
  model.model = std::make_shared<FakeModel>(request.version);
  model.dtype = "fake";
  model.block_bytes = 4096;
  model.feature_bytes_per_token = 64;
  return model;
}

absl::StatusOr<std::unique_ptr<engine::Executor>> FakeBackend::MakeExecutor(
    const server::Config&, const std::string&, const engine::LoadedModel&, int num_blocks) {
  return std::make_unique<WordExecutor>(num_blocks, step_time_);
}

}  // namespace llava::testing
