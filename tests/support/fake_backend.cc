#include "tests/support/fake_backend.h"

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "model/config/config.h"
#include "model/grammar/token_constraint.h"
#include "model/text/tokenizer.h"
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
  WordExecutor(int num_blocks, Duration step_time, std::vector<std::int32_t> answer)
      : fake_(num_blocks, nullptr, {}, kFirstWord),
        step_time_(step_time),
        answer_(std::move(answer)) {}

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
  absl::Status Launch(const scheduling::StepPlan& plan) override {
    Spend(step_time_);
    RETURN_IF_ERROR(fake_.Launch(plan));
    samples_ = plan.samples;
    return absl::OkStatus();
  }
  absl::StatusOr<engine::Collected> Collect() override {
    auto collected = fake_.Collect();
    if (collected.ok()) Answer(std::exchange(samples_, {}), collected->result);
    return collected;
  }

 private:
  // The words of the answer, in the place of those that were sampled.
  void Answer(std::span<const scheduling::Sample> samples, scheduling::StepResult& result) const {
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const scheduling::Sample& sample = samples[i];
      std::int32_t& token = result.tokens[i].token;
      if (sample.draft != kNotSampled && result.tokens[i - 1].token != sample.draft) {
        token = kNotSampled;
      }
      if (token == kNotSampled) continue;
      const std::size_t said = sample.output_ids.size();
      if (said < answer_.size()) token = answer_[said];
      if (sample.params->constraint != nullptr) Constrain(sample, i, result);
    }
  }

  // One of the tokens that the answer's form allows takes the place of the sampled one. From the
  // beginning each time: there is no state to lose.
  static void Constrain(const scheduling::Sample& sample, std::size_t i,
                        scheduling::StepResult& result) {
    const auto answer = sample.params->constraint->BeginChoice(sample.seed);
    absl::Status status;
    for (const std::int32_t token : sample.output_ids) status.Update(answer->Append(token));
    const auto allowed = answer->Allowed();
    status.Update(allowed.status());
    if (!status.ok()) {
      result.failed.emplace_back(static_cast<int>(i), absl::InvalidArgumentError(status.message()));
      return;
    }
    std::vector<std::int32_t> tokens;
    for (std::size_t token = 0; token < 32 * allowed->size(); ++token) {
      if (((*allowed)[token / 32] >> (token % 32) & 1) != 0) {
        tokens.push_back(static_cast<std::int32_t>(token));
      }
    }
    std::int32_t& chosen = result.tokens[i].token;
    chosen = tokens.at(static_cast<std::size_t>(chosen) % tokens.size());
  }

  FakeExecutor fake_;
  std::span<const scheduling::Sample> samples_;  // of the step, until it is collected
  const Duration step_time_;
  const std::vector<std::int32_t> answer_;
};

}  // namespace

absl::StatusOr<server::BackendModel> FakeBackend::Describe(const server::Config&,
                                                           const std::string&,
                                                           const std::string& device) {
  const auto ranks = std::ssize(server::RanksOf(device));
  if (ranks > most_ranks) return absl::InvalidArgumentError("too many devices");
  return server::BackendModel{.model = nullptr,
                              .dtype = "fake",
                              .block_bytes = block_bytes / ranks,
                              .feature_bytes_per_token = 64,
                              .encoder_parts = encoder_parts};
}

absl::StatusOr<server::BackendModel> FakeBackend::Load(const server::Config& config,
                                                       const server::LoadRequest& request) {
  auto model = Describe(config, request.dir, request.device);
  model->model = std::make_shared<FakeModel>(request.version);
  if (answer.empty()) return model;
  ASSIGN_OR_RETURN(const model::LlavaConfig checkpoint, model::ReadConfig(request.dir, ""));
  ASSIGN_OR_RETURN(const model::Tokenizer tokenizer,
                   model::Tokenizer::Load(request.dir, checkpoint.layout));
  const std::vector<int> ids = tokenizer.Encode(std::vector{model::TextPart{answer, false}}, true);
  answer_ids_.assign(ids.begin(), ids.end());
  answer_ids_.push_back(checkpoint.text.eos_token_ids.at(0));
  return model;
}

absl::StatusOr<registry::LoadedAdapter> FakeBackend::LoadAdapter(const server::Config&,
                                                                 const std::string& dir,
                                                                 const model::TextConfig&,
                                                                 std::int64_t) {
  ASSIGN_OR_RETURN(const std::string config, ReadFile(dir + "/adapter_config.json", 1 << 20));
  return registry::LoadedAdapter{.adapter = std::make_shared<FakeAdapter>(Sha256Of(config)),
                                 .base = "fake",
                                 .targets = "q_proj",
                                 .rank = 8,
                                 .bytes = 1 << 10};
}

absl::StatusOr<std::unique_ptr<engine::Executor>> FakeBackend::MakeExecutor(
    const server::Config&, const std::string&, const engine::LoadedModel&, int num_blocks) {
  return std::make_unique<WordExecutor>(num_blocks, step_time_, answer_ids_);
}

}  // namespace llava::testing
