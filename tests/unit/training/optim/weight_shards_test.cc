#include "training/optim/weight_shards.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/rank_threads.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/training/optim/toy.h"
#include "training/objective/conversation_objective.h"
#include "training/optim/trainer.h"

namespace llava::training {
namespace {

constexpr int kRanks = 3;
constexpr std::int64_t kSteps = 6;

// What a run has come to: the losses of its steps, and every weight in the end.
struct Outcome {
  std::vector<double> losses;
  std::map<std::string, at::Tensor> weights;
};

bool IsThere(const at::Tensor& weight) {
  return static_cast<std::int64_t>(weight.storage().nbytes()) >=
         weight.numel() * static_cast<std::int64_t>(weight.element_size());
}

bool IsMatrixOfALayer(const std::string& name, const at::Tensor& weight) {
  return name.find("language_model.model.layers.") == 0 && weight.dim() == 2;
}

class WeightShardsTest : public ::testing::Test {
 protected:
  WeightShardsTest() {
    StageOptions stage;
    stage.name = "tune";
    stage.train_projector = true;
    stage.train_decoder = true;
    stage.gradient_checkpointing = true;
    stage.steps = kSteps;
    stage.batch = 2 * kRanks;
    stage.micro_batch = 1;
    stage.rate = 3e-3;
    recipe_.stages = {stage};
    recipe_.save_every = 2;
    recipe_.shard = true;
  }

  // Of the micro batches of a step one is empty, and one has no picture.
  static Batch MicroBatch(std::int64_t number) {
    if (number % (2 * kRanks) == 0) return {};
    Sample sample = toy::MakeSample(number);
    if (number % (2 * kRanks) == 3) {
      sample.ids.erase(sample.ids.begin() + 1, sample.ids.begin() + 5);
      sample.labels.erase(sample.labels.begin() + 1, sample.labels.begin() + 5);
      sample.image_spans.clear();
      sample.images.clear();
    }
    return Collate({sample});
  }

  Outcome Run(bool shard_weights, const std::string& state,
              const std::function<void(Ranks&, const model::Llava&)>& look = {}) {
    Recipe recipe = recipe_;
    recipe.shard_weights = shard_weights;
    std::mutex mutex;
    std::vector<Outcome> outcomes(kRanks);
    test::OnRanks(kRanks, [&](Ranks& ranks) {
      auto model = toy::Model();
      StateStore store(folder_.path() + "/" + state, 10, ranks);
      ManualClock clock;
      Outcome& outcome = outcomes[static_cast<std::size_t>(ranks.rank())];
      TrainerHooks hooks;
      hooks.make_objective =
          [&](const StageOptions& of,
              std::int64_t first_step) -> absl::StatusOr<std::unique_ptr<Objective>> {
        const std::int64_t passes = PassesPerStep(of, kRanks);
        return std::make_unique<ConversationObjective>(
            *model,
            [&ranks, passes, pass = first_step * passes]() mutable -> absl::StatusOr<Batch> {
              const std::int64_t step = pass / passes, part = pass % passes;
              ++pass;
              return MicroBatch((step * kRanks + ranks.rank()) * passes + part);
            },
            100, /*tower_is_frozen=*/true, 1 << 20);
      };
      hooks.on_step = [&](const StepReport& report) {
        outcome.losses.push_back(report.loss);
        if (look) look(ranks, *model);
      };
      Trainer trainer(recipe, *model, store, ranks, clock, hooks);
      const absl::Status status = trainer.Run();
      ASSERT_TRUE(status.ok()) << status;
      for (const auto& [name, weight] : model->weights()) {
        outcome.weights[name] = weight.detach().clone();
      }
    });
    for (const Outcome& outcome : outcomes) {
      EXPECT_EQ(outcome.losses, outcomes[0].losses);
      for (const auto& [name, weight] : outcomes[0].weights) {
        EXPECT_TRUE(at::equal(weight, outcome.weights.at(name))) << name;
      }
    }
    return outcomes[0];
  }

  void ExpectTheSame(const Outcome& sharded, const Outcome& whole) {
    EXPECT_EQ(sharded.losses.size(), static_cast<std::size_t>(kSteps));
    EXPECT_EQ(sharded.losses, whole.losses);
    for (const auto& [name, weight] : whole.weights) {
      EXPECT_TRUE(at::equal(weight, sharded.weights.at(name))) << name;
    }
  }

  const test::TempDir folder_;
  Recipe recipe_;
};

TEST_F(WeightShardsTest, StepsAreThoseOfWholeWeights) {
  ExpectTheSame(Run(true, "sharded"), Run(false, "whole"));
}

TEST_F(WeightShardsTest, FrozenMatricesUnderAdaptersAreShardedToo) {
  LoraOptions& lora = recipe_.stages[0].lora;
  lora.rank = 4;
  lora.alpha = 8;
  lora.dropout = 0.1;
  lora.targets = {"q_proj", "down_proj"};
  ExpectTheSame(Run(true, "sharded"), Run(false, "whole"));
  lora.use_dora = true;
  ExpectTheSame(Run(true, "sharded-dora"), Run(false, "whole-dora"));
}

// The projector alone learns: what flows through the decoder is the same, and a pass without a
// picture has nothing to flow back.
TEST_F(WeightShardsTest, AFrozenDecoderIsShardedToo) {
  recipe_.stages[0].train_decoder = false;
  ExpectTheSame(Run(true, "sharded"), Run(false, "whole"));
}

TEST_F(WeightShardsTest, BetweenStepsEveryMatrixIsWithOneRank) {
  std::mutex mutex;
  std::map<std::string, std::vector<int>> owners;  // of the first step
  Run(true, "state", [&](Ranks& ranks, const model::Llava& model) {
    const std::lock_guard lock(mutex);
    for (const auto& [name, weight] : model.weights()) {
      if (!IsThere(weight)) {
        EXPECT_TRUE(weight.isnan().all().item<bool>()) << name;
      } else if (IsMatrixOfALayer(name, weight)) {
        owners[name].push_back(ranks.rank());
      }
    }
  });
  EXPECT_EQ(owners.size(), 2U * 7U);
  std::map<int, int> kept;
  for (const auto& [name, ranks] : owners) {
    EXPECT_THAT(ranks, testing::SizeIs(kSteps)) << name;
    EXPECT_THAT(ranks, testing::Each(ranks.front())) << name;
    ++kept[ranks.front()];
  }
  EXPECT_EQ(kept.size(), static_cast<std::size_t>(kRanks));
}

// A state has every weight once, wherever it was kept.
TEST_F(WeightShardsTest, StatesAreThoseOfWholeWeights) {
  Run(true, "sharded");
  Run(false, "whole");
  const auto saved = [&](const std::string& name) {
    Ranks alone;
    std::map<std::string, at::Tensor> tensors;
    const auto state = StateStore(folder_.path() + "/" + name, 10, alone).LoadAt(2, 0);
    EXPECT_TRUE(state.ok()) << state.status();
    if (!state.ok()) return tensors;
    for (const auto& [of, tensor] : state->tensors) EXPECT_TRUE(tensors.emplace(of, tensor).second);
    return tensors;
  };
  const auto whole = saved("whole"), sharded = saved("sharded");
  ASSERT_EQ(sharded.size(), whole.size());
  for (const auto& [name, tensor] : whole) {
    ASSERT_TRUE(sharded.contains(name)) << name;
    EXPECT_TRUE(at::equal(sharded.at(name), tensor)) << name;
  }
}

}  // namespace
}  // namespace llava::training
