#include "training/optim/trainer.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "tests/support/coded_weights.h"
#include "tests/unit/training/optim/trainer_fixture.h"
#include "training/optim/adapters.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

TEST_F(TrainerTest, Learns) {
  absl::Status status;
  const std::vector<double> losses = Run("state", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(losses.size(), 42u);
  EXPECT_GT(losses.front(), 2.5);
  EXPECT_LT(losses.back(), 0.7 * losses.front());
  EXPECT_EQ(last_.total_step, 42);
  EXPECT_EQ(last_.targets, 16);
}

// Killed before any step, then going on: the losses of the whole run, bit for bit.
TEST_F(TrainerTest, GoesOnToTheSameLossesWhereverItIsKilled) {
  absl::Status status;
  const std::vector<double> whole = Run("whole", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  const auto final_weights = model_->weights();
  for (std::int64_t kill = 0; kill < std::ssize(whole); kill += 8) {
    const std::string state = "killed-" + std::to_string(kill);
    Run(state, kill, &status);
    ASSERT_EQ(status.code(), absl::StatusCode::kAborted);
    const std::vector<double> rest = Run(state, -1, &status);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_LE(rest.size(), whole.size());
    for (std::size_t i = 0; i < rest.size(); ++i) {
      ASSERT_EQ(rest[rest.size() - 1 - i], whole[whole.size() - 1 - i]) << "killed at " << kill;
    }
    for (const auto& [name, weight] : final_weights) {
      ASSERT_TRUE(at::equal(weight, model_->weights().at(name))) << name << ", killed at " << kill;
    }
  }
}

TEST_F(TrainerTest, StopSavesTheStepItStoppedAt) {
  absl::Status status;
  const std::vector<double> whole = Run("whole", -1, &status);
  Run("stopped", 17, &status, /*save_on_stop=*/true);  // asked in the step after these
  ASSERT_EQ(status.code(), absl::StatusCode::kCancelled);
  const std::vector<double> rest = Run("stopped", -1, &status);
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(rest, std::vector<double>(whole.begin() + 18, whole.end()));
}

// A disk that writes each state only once three more steps are done.
TEST_F(TrainerTest, StepsDoNotWaitForTheDisk) {
  recipe_.stages = {Stage("tune", 14)};
  Mutex mutex;
  CondVar changed;
  std::int64_t steps = 0;
  std::int64_t saves = 0;
  bool in_time = true;
  const RealClock clock;
  on_step_ = [&] {
    MutexLock lock(&mutex);
    ++steps;
    changed.NotifyAll();
  };
  before_save_ = [&] {
    MutexLock lock(&mutex);
    if (++saves > 2) return absl::OkStatus();  // of the end
    const TimePoint late = clock.Now() + std::chrono::seconds(60);
    while (steps < recipe_.save_every * saves + 3 && in_time) {
      in_time = changed.WaitUntil(&mutex, late);
    }
    return absl::OkStatus();
  };
  absl::Status status;
  const std::vector<double> background = Run("background", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(in_time) << "a step waited for a state";
  EXPECT_EQ(saves, 3);
  // Where no copy fits, they do wait.
  on_step_ = [&] { ++steps; };
  steps = saves = 0;
  free_memory_ = 0;
  before_save_ = [&] {
    EXPECT_EQ(steps, std::min<std::int64_t>(14, recipe_.save_every * ++saves));
    return absl::OkStatus();
  };
  EXPECT_EQ(Run("waited", -1, &status), background);
  EXPECT_EQ(saves, 3);
}

TEST_F(TrainerTest, ADiskThatIsFullEndsTheRunAndTheStateBeforeGoesOn) {
  recipe_.stages = {Stage("tune", 30)};
  absl::Status status;
  const std::vector<double> whole = Run("whole", -1, &status);
  std::atomic<int> saves = 0;
  before_save_ = [&] {
    return ++saves == 3 ? absl::ResourceExhaustedError("tensors: No space left on device")
                        : absl::OkStatus();
  };
  const std::vector<double> seen = Run("full", -1, &status);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("No space left on device"));
  EXPECT_GE(seen.size(), 15u);
  EXPECT_LE(seen.size(), 20u) << "at the latest when the next state is due";
  EXPECT_EQ(NewestProgress(folder_ + "/full")->total_steps, 10);
  before_save_ = nullptr;
  const std::vector<double> rest = Run("full", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(rest, std::vector<double>(whole.begin() + 10, whole.end()));
}

TEST_F(TrainerTest, PassesDoNotChangeTheLoss) {
  absl::Status status;
  recipe_.stages = {Stage("tune", 10)};
  const std::vector<double> whole = Run("one", -1, &status);
  recipe_.stages[0].micro_batch = 2;
  const std::vector<double> parts = Run("four", -1, &status);
  ASSERT_EQ(parts.size(), whole.size());
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(parts[i], whole[i], 1e-5) << i;
}

TEST_F(TrainerTest, OnlyTheChosenPartsMove) {
  absl::Status status;
  recipe_.stages = {recipe_.stages[0]};
  Run("state", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  const auto fresh = toy::Model();
  for (const auto& [name, weight] : fresh->weights()) {
    const bool projector = name.starts_with("multi_modal_projector.");
    EXPECT_EQ(at::equal(weight, model_->weights().at(name)), !projector) << name;
  }
}

TEST_F(TrainerTest, AChangedRecipeDoesNotGoOn) {
  absl::Status status;
  recipe_.stage_digests = {"a", "b"};
  Run("state", 20, &status, /*save_on_stop=*/true);
  recipe_.stage_digests = {"a", "c"};
  Run("state", -1, &status);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another recipe"));
}

TEST_F(TrainerTest, GradientCheckpointingChangesNothing) {
  absl::Status status;
  const std::vector<double> kept = Run("kept", -1, &status);
  const auto weights = model_->weights();
  for (StageOptions& stage : recipe_.stages) stage.gradient_checkpointing = true;
  EXPECT_EQ(Run("recomputed", -1, &status), kept);
  ASSERT_TRUE(status.ok()) << status;
  for (const auto& [name, weight] : weights) {
    EXPECT_TRUE(at::equal(weight, model_->weights().at(name))) << name;
  }
}

// Nothing in front of the decoder has a gradient; its layers get theirs all the same.
TEST_F(TrainerTest, GradientCheckpointingReachesTheFirstLayer) {
  absl::Status status;
  recipe_.stages = {Stage("tune", 3)};
  recipe_.stages[0].train_projector = false;
  recipe_.stages[0].lora.rank = 2;
  recipe_.stages[0].gradient_checkpointing = true;
  Run("state", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  const std::string first = "language_model.model.layers.0.self_attn.q_proj.weight";
  EXPECT_FALSE(at::equal(toy::Model()->weights().at(first), model_->weights().at(first)));
}

TEST_F(TrainerTest, NoiseOnTextsIsThatOfThePassWhereverTheRunIsKilled) {
  absl::Status status;
  const std::vector<double> quiet = Run("quiet", -1, &status);
  recipe_.stages[1].neftune_alpha = 5.0;
  const std::vector<double> whole = Run("whole", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(whole[11], quiet[11]) << "the first stage has none";
  EXPECT_NE(whole[12], quiet[12]);
  Run("killed", 23, &status);
  ASSERT_EQ(status.code(), absl::StatusCode::kAborted);
  const std::vector<double> rest = Run("killed", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(std::equal(rest.rbegin(), rest.rend(), whole.rbegin()));
}

// With magnitudes (DoRA) and without.
class LoraTrainerTest : public TrainerTest, public testing::WithParamInterface<bool> {
 protected:
  LoraTrainerTest() {
    recipe_.stages[1].rate = 1e-2;
    LoraOptions& lora = recipe_.stages[1].lora;
    lora.rank = 4;
    lora.alpha = 8;
    lora.dropout = 0.1;
    lora.use_dora = GetParam();
    lora.targets = {"q_proj", "v_proj", "down_proj"};
  }
};

TEST_P(LoraTrainerTest, LearnsAndIsMergedIntoItsTargetsAlone) {
  absl::Status status;
  const std::vector<double> losses = Run("state", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_LT(losses.back(), 0.9 * losses[12]);
  const auto fresh = toy::Model();
  for (const auto& [name, weight] : fresh->weights()) {
    const bool adapted = IsTarget(name, recipe_.stages[1].lora);
    const bool projector = name.starts_with("multi_modal_projector.");
    EXPECT_EQ(at::equal(weight, model_->weights().at(name)), !adapted && !projector) << name;
  }
}

TEST_P(LoraTrainerTest, GoesOnToTheSameBitsWhereverItIsKilled) {
  absl::Status status;
  const std::vector<double> whole = Run("whole", -1, &status);
  const auto weights = model_->weights();
  for (const std::int64_t kill : {14, 23, 41}) {
    const std::string state = "killed-" + std::to_string(kill);
    Run(state, kill, &status);
    ASSERT_EQ(status.code(), absl::StatusCode::kAborted);
    const std::vector<double> rest = Run(state, -1, &status);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(std::equal(rest.rbegin(), rest.rend(), whole.rbegin())) << "killed at " << kill;
    for (const auto& [name, weight] : weights) {
      EXPECT_TRUE(at::equal(weight, model_->weights().at(name))) << name << ", " << kill;
    }
  }
}

// What `export` writes in the middle of a stage: the weights with what the adapters know so far.
TEST_P(LoraTrainerTest, ASavedStateInTheMiddleHasTheAdaptersShare) {
  absl::Status status;
  recipe_.stages[1].lora.dropout = 0.0;
  Run("state", 30, &status, /*save_on_stop=*/true);
  ASSERT_EQ(status.code(), absl::StatusCode::kCancelled);
  Ranks alone;
  const auto saved = StateStore(folder_ + "/state", 2, alone).LoadNewest();
  ASSERT_TRUE(saved.ok() && saved->has_value());
  const auto restored = toy::Model();
  ASSERT_TRUE(RestoreWeights(**saved, recipe_, *restored).ok());
  model_->decoder().ForEachLinear([&](const std::string& name, model::Linear& layer) {
    if (IsTarget(name, recipe_.stages[1].lora)) layer.MergeLora();
  });
  for (const auto& [name, weight] : model_->weights()) {
    EXPECT_TRUE(at::allclose(weight, restored->weights().at(name), 1e-6, 1e-6)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, LoraTrainerTest, testing::Bool(),
                         [](const auto& dora) { return dora.param ? "dora" : "lora"; });

// What is saved of a model of codes has none of them in it.
TEST_F(TrainerTest, BesideCodesItGoesOnToTheSameBits) {
  recipe_.stages[1].lora.rank = 4;
  recipe_.stages[1].rate = 1e-2;
  make_model_ = [] {
    test::CodedWeights weights(3, at::kFloat, model::WeightFormat::kInt4);
    return std::make_unique<model::Llava>(toy::Config(), weights);
  };
  absl::Status status;
  const std::vector<double> whole = Run("whole", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_LT(whole.back(), 0.9 * whole[12]);
  for (const std::int64_t kill : {9, 23}) {
    const std::string state = "killed-" + std::to_string(kill);
    Run(state, kill, &status);
    const std::vector<double> rest = Run(state, -1, &status);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(std::equal(rest.rbegin(), rest.rend(), whole.rbegin())) << "killed at " << kill;
  }
  Ranks alone;
  const auto saved = StateStore(folder_ + "/whole", 2, alone).LoadNewest();
  ASSERT_TRUE(saved.ok() && saved->has_value());
  for (const auto& [name, tensor] : WeightsOf(**saved)) {
    EXPECT_TRUE(name.starts_with("multi_modal_projector.")) << name;
  }
}

class ValidatedTrainerTest : public TrainerTest {
 protected:
  ValidatedTrainerTest() {
    for (StageOptions& stage : recipe_.stages) stage.validate.every = 4;
    // Depends on every step before, and is least in the middle.
    validation_loss_ = [](const model::Llava& model) {
      const at::Tensor weight = model.weights().at("multi_modal_projector.linear_1.weight");
      return std::cos(100.0 * weight.detach().to(at::kDouble).sum().item<double>());
    };
  }

  std::vector<double> ValidationLosses() const {
    std::vector<double> losses;
    for (const ValidationReport& report : validations_) losses.push_back(report.loss);
    return losses;
  }
};

TEST_F(ValidatedTrainerTest, AStageEndsWithTheWeightsOfItsBestValidation) {
  absl::Status status;
  recipe_.stages = {recipe_.stages[1]};
  int asked = 0;
  validation_loss_ = [&](const model::Llava&) { return ++asked == 3 ? 0.5 : 1.0; };
  Run("state", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(validations_.size(), 8u);  // every 4 of 30 steps, and after the last one
  EXPECT_EQ(validations_.back().step, 30);
  EXPECT_TRUE(validations_[2].best);
  EXPECT_EQ(validations_[2].step, 12);
  EXPECT_EQ(validations_.back().since, 5);
  for (const auto& [name, weight] : best_weights_) {
    EXPECT_TRUE(at::equal(weight, model_->weights().at(name))) << name;
  }
  const auto progress = NewestProgress(folder_ + "/state");
  ASSERT_EQ(progress->kept_weights.size(), 1u);
  EXPECT_THAT(progress->kept_weights[0], HasSubstr("tune: the weights after step 12 of 30"));
  EXPECT_THAT(progress->kept_weights[0], HasSubstr("0.5"));
}

TEST_F(ValidatedTrainerTest, TheLastWeightsAreKeptWhereTheRecipeSaysSo) {
  absl::Status status;
  recipe_.stages = {recipe_.stages[1]};
  recipe_.stages[0].validate.keep_best = false;
  int asked = 0;
  validation_loss_ = [&](const model::Llava&) { return ++asked == 3 ? 0.5 : 1.0; };
  Run("state", -1, &status);
  const auto last = Copies(*model_);
  validation_loss_ = nullptr;
  Run("plain", -1, &status);
  for (const auto& [name, weight] : last) {
    EXPECT_TRUE(at::equal(weight, model_->weights().at(name))) << name;
  }
}

TEST_F(ValidatedTrainerTest, PatienceEndsAStage) {
  absl::Status status;
  recipe_.stages[1].validate.patience = 2;
  int asked = 0;
  validation_loss_ = [&](const model::Llava&) { return static_cast<double>(++asked); };
  const std::vector<double> losses = Run("state", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(losses.size(), 12u + 12u);  // 4 is the best of the second stage, 8 and 12 are worse
}

TEST_F(ValidatedTrainerTest, GoesOnToTheSameBitsWhereverItIsKilled) {
  absl::Status status;
  const std::vector<double> whole = Run("whole", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  const auto weights = Copies(*model_);
  const std::vector<double> validated = ValidationLosses();
  for (std::int64_t kill = 1; kill < std::ssize(whole); kill += 5) {
    const std::string state = "killed-" + std::to_string(kill);
    Run(state, kill, &status);
    ASSERT_EQ(status.code(), absl::StatusCode::kAborted);
    validations_.clear();
    const std::vector<double> rest = Run(state, -1, &status);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(std::equal(rest.rbegin(), rest.rend(), whole.rbegin())) << "killed at " << kill;
    const std::vector<double> again = ValidationLosses();
    EXPECT_TRUE(std::equal(again.rbegin(), again.rend(), validated.rbegin())) << kill;
    for (const auto& [name, weight] : weights) {
      ASSERT_TRUE(at::equal(weight, model_->weights().at(name))) << name << ", killed at " << kill;
    }
  }
}

TEST_F(ValidatedTrainerTest, AValidationThatWasStoppedIsDoneAgain) {
  absl::Status status;
  const std::vector<double> whole = Run("whole", -1, &status);
  const std::vector<double> validated = ValidationLosses();
  validations_.clear();
  // Asked to stop once the fourth step is done: its validation is the first that hears it.
  Run("stopped", 4, &status, /*save_on_stop=*/true);
  ASSERT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_TRUE(validations_.empty());
  const std::vector<double> rest = Run("stopped", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(rest, std::vector<double>(whole.begin() + 4, whole.end()));
  EXPECT_EQ(ValidationLosses(), validated);
}

// Nor does validation disturb what dropout draws.
TEST_F(ValidatedTrainerTest, TheAdaptersOfTheBestValidationAreMerged) {
  absl::Status status;
  recipe_.stages = {recipe_.stages[1]};
  StageOptions& stage = recipe_.stages[0];
  stage.schedule = {};
  stage.schedule.kind = ScheduleKind::kConstant;
  stage.lora.rank = 4;
  stage.lora.dropout = 0.2;
  int asked = 0;
  validation_loss_ = [&](const model::Llava&) { return ++asked == 3 ? 0.5 : 1.0; };
  Run("validated", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  const auto best = Copies(*model_);
  validation_loss_ = nullptr;
  stage.steps = 12;
  Run("plain", -1, &status);
  ASSERT_TRUE(status.ok()) << status;
  for (const auto& [name, weight] : best) {
    EXPECT_TRUE(at::equal(weight, model_->weights().at(name))) << name;
  }
}

// A loss that is not a number, with the samples that made it.
class BrokenObjective final : public Objective {
 public:
  explicit BrokenObjective(at::Tensor weight) : weight_(std::move(weight)) {}
  absl::StatusOr<Pass> Next() override {
    Pass pass;
    pass.loss_sum = (weight_ * std::numeric_limits<double>::quiet_NaN()).sum();
    pass.targets = 1;
    pass.sample_ids = {"cat-7", "dog-9"};
    return pass;
  }
  std::int64_t steps_per_epoch() const override { return 10; }

 private:
  const at::Tensor weight_;
};

// Its batches hold samples without a label.
class MaskedObjective final : public Objective {
 public:
  absl::StatusOr<Pass> Next() override {
    Pass pass;
    pass.stats.masked = 4;
    return pass;
  }
  std::int64_t steps_per_epoch() const override { return 10; }
};

TEST_F(TrainerTest, AStageWithoutALabelIsAnError) {
  auto model = toy::Model();
  Ranks alone;
  StateStore store(folder_ + "/state", 2, alone);
  ManualClock clock;
  TrainerHooks hooks;
  hooks.make_objective = [](const StageOptions&, std::int64_t) {
    return absl::StatusOr<std::unique_ptr<Objective>>(std::make_unique<MaskedObjective>());
  };
  int steps = 0;
  hooks.on_step = [&](const StepReport& report) {
    EXPECT_EQ(report.stats.masked, 4);
    ++steps;
  };
  hooks.stop = [&] { return steps == 1; };
  // Also when the run is stopped and goes on.
  EXPECT_TRUE(absl::IsCancelled(Trainer(recipe_, *model, store, alone, clock, hooks).Run()));
  const absl::Status status = Trainer(recipe_, *model, store, alone, clock, hooks).Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("stage align: nothing was learnt in its 12 steps"));
}

TEST_F(TrainerTest, ALossThatIsNoNumberStopsWithTheSamples) {
  auto model = toy::Model();
  Ranks alone;
  StateStore store(folder_ + "/state", 2, alone);
  ManualClock clock;
  TrainerHooks hooks;
  hooks.make_objective = [&](const StageOptions&,
                             std::int64_t) -> absl::StatusOr<std::unique_ptr<Objective>> {
    return std::make_unique<BrokenObjective>(
        model->weights().at("multi_modal_projector.linear_1.weight"));
  };
  hooks.on_step = [](const StepReport&) {};
  const absl::Status status = Trainer(recipe_, *model, store, alone, clock, hooks).Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("stage align, step 1"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("cat-7, dog-9"));
}

}  // namespace
}  // namespace llava::training
