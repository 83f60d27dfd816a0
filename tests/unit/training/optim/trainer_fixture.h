// A run of two stages on the toy model, which a test kills, stops and validates.
#ifndef LLAVA_TESTS_UNIT_TRAINING_OPTIM_TRAINER_FIXTURE_H_
#define LLAVA_TESTS_UNIT_TRAINING_OPTIM_TRAINER_FIXTURE_H_

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "tests/unit/training/optim/toy.h"
#include "training/objective/conversation_objective.h"
#include "training/optim/trainer.h"

namespace llava::training {

inline StageOptions Stage(const std::string& name, std::int64_t steps) {
  StageOptions stage;
  stage.name = name;
  stage.train_projector = true;
  stage.train_decoder = true;
  stage.steps = steps;
  stage.batch = 8;
  stage.rate = 3e-3;
  stage.weight_decay = 0.01;
  stage.schedule.warmup_ratio = 0.1;
  return stage;
}

// A validation of one label whose loss the test says.
class ToldValidation final : public Validation {
 public:
  explicit ToldValidation(std::function<double()> loss) : loss_(std::move(loss)) {}

  absl::StatusOr<ValidationSums> Run(const std::function<bool()>& stop) override {
    return ValidationSums{loss_(), 1, 1, 1, stop()};
  }

 private:
  const std::function<double()> loss_;
};

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() {
    recipe_.stages = {Stage("align", 12), Stage("tune", 30)};
    recipe_.stages[0].train_decoder = false;
    recipe_.save_every = 5;
  }

  // Runs until `stop_after` steps were done by this run, or to the end; the losses seen.
  std::vector<double> Run(const std::string& state, std::int64_t stop_after, absl::Status* status,
                          bool save_on_stop = false) {
    auto model = make_model_();
    Ranks alone;
    StateStore store(folder_ + "/" + state, 2, alone);
    std::vector<double> losses;
    ManualClock clock;
    TrainerHooks hooks;
    hooks.make_objective =
        [&](const StageOptions& stage,
            std::int64_t first_step) -> absl::StatusOr<std::unique_ptr<Objective>> {
      const std::int64_t passes = PassesPerStep(stage, 1);
      auto objective = std::make_unique<ConversationObjective>(
          *model,
          [=, this, pass = first_step * passes]() mutable -> absl::StatusOr<Batch> {
            if (std::ssize(losses_seen_) == die_at_) return absl::AbortedError("killed");
            const std::int64_t rows = stage.batch / passes;
            return toy::MakeBatch(100 * (stage.name == "tune") + pass++ * rows, rows);
          },
          100, !stage.train_vision_tower, 1 << 20);
      objective->UseNoise(stage.neftune_alpha);
      return objective;
    };
    losses_seen_.clear();
    die_at_ = save_on_stop ? -1 : stop_after;
    hooks.on_step = [&](const StepReport& report) {
      losses_seen_.push_back(report.loss);
      losses.push_back(report.loss);
      last_ = report;
      if (on_step_) on_step_();
    };
    if (validation_loss_) {
      hooks.make_validation =
          [&](const StageOptions&) -> absl::StatusOr<std::unique_ptr<Validation>> {
        return std::make_unique<ToldValidation>([&] { return validation_loss_(*model); });
      };
    }
    hooks.on_validation = [&](const ValidationReport& report) {
      validations_.push_back(report);
      if (report.best) best_weights_ = Copies(*model);
    };
    hooks.stop = [&] { return save_on_stop && std::ssize(losses) == stop_after; };
    if (before_save_) hooks.before_save = before_save_;
    hooks.free_memory = [&] { return free_memory_; };
    Trainer trainer(recipe_, *model, store, alone, clock, hooks);
    *status = trainer.Run();
    model_ = std::move(model);
    return losses;
  }

  static std::map<std::string, at::Tensor> Copies(const model::Llava& model) {
    std::map<std::string, at::Tensor> copies;
    for (const auto& [name, weight] : model.weights()) copies[name] = weight.detach().clone();
    return copies;
  }

  std::function<std::unique_ptr<model::Llava>()> make_model_ = [] { return toy::Model(); };
  std::function<void()> on_step_;  // none: nothing
  std::int64_t free_memory_ = std::int64_t{1} << 40;
  std::function<absl::Status()> before_save_;                   // none: nothing
  std::function<double(const model::Llava&)> validation_loss_;  // none: no validation
  std::vector<ValidationReport> validations_;
  std::map<std::string, at::Tensor> best_weights_;
  const test::TempDir temporary_;
  const std::string folder_ = temporary_.path();
  Recipe recipe_;
  std::vector<double> losses_seen_;
  std::int64_t die_at_ = -1;
  StepReport last_;
  std::unique_ptr<model::Llava> model_;
};

}  // namespace llava::training

#endif  // LLAVA_TESTS_UNIT_TRAINING_OPTIM_TRAINER_FIXTURE_H_
