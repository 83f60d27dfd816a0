#include "training/objective/conversation_objective.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/attention/sdpa_attention.h"
#include "tests/unit/training/optim/toy.h"

namespace llava::training {
namespace {

// The loss of one sample that stands alone, in plain words.
struct Naive {
  double loss = 0.0;
  std::int64_t correct = 0;
};

Naive Alone(const model::Llava& model, const Sample& sample) {
  const at::Tensor ids =
      at::tensor(std::vector<std::int64_t>(sample.ids.begin(), sample.ids.end()));
  at::Tensor embeddings = model.Embed(ids);
  for (const ImageSpan& span : sample.image_spans) {
    const at::Tensor features =
        model.EncodeImages(PixelTensor({&sample.images[span.image]}, model)).flatten(0, 1);
    embeddings = model::Llava::PlaceImages(
        embeddings, at::arange(span.offset, span.offset + span.count, at::kLong), features);
  }
  const std::int64_t tokens = ids.size(0);
  model::SdpaAttention attention({tokens});
  const at::Tensor hidden = model.Forward(embeddings, at::arange(tokens, at::kLong), attention);
  const at::Tensor logits = model.Logits(hidden);
  Naive naive;
  for (std::int64_t t = 0; t + 1 < tokens; ++t) {
    const std::int64_t label = sample.labels[t + 1];
    if (label == kIgnoreLabel) continue;
    const at::Tensor row = logits[t];
    naive.loss += (row.logsumexp(0) - row[label]).item<double>();
    naive.correct += row.argmax().item<std::int64_t>() == label;
  }
  return naive;
}

// Three questions: two about the same picture, which share its rows, and one without any.
std::vector<Sample> Questions() {
  Sample again = toy::MakeSample(1);
  again.ids[5] = 11;
  again.ids[6] = again.labels[6] = 23;
  Sample text;
  text.id = "text";
  text.ids = {1, 9, 8, 7, 2};
  text.labels = {kIgnoreLabel, kIgnoreLabel, 8, 7, 2};
  return {toy::MakeSample(1), again, toy::MakeSample(2), text};
}

class ConversationObjectiveTest : public ::testing::TestWithParam<bool> {
 protected:
  Pass Next(std::vector<Sample> samples) {
    ConversationObjective objective(
        *model_, [&]() -> absl::StatusOr<Batch> { return Collate(std::move(samples)); }, 5,
        /*tower_is_frozen=*/GetParam(), 1 << 20);
    EXPECT_EQ(objective.steps_per_epoch(), 5);
    absl::StatusOr<Pass> pass = objective.Next();
    EXPECT_TRUE(pass.ok()) << pass.status();
    return *std::move(pass);
  }

  const std::unique_ptr<model::Llava> model_ = toy::Model();
};

TEST_P(ConversationObjectiveTest, TheLossIsThatOfEachSampleAlone) {
  double loss = 0.0;
  std::int64_t correct = 0;
  for (const Sample& sample : Questions()) {
    const Naive naive = Alone(*model_, sample);
    loss += naive.loss;
    correct += naive.correct;
  }
  const Pass pass = Next(Questions());
  EXPECT_NEAR(pass.loss_sum.item<double>(), loss, 1e-4 * loss);
  EXPECT_EQ(pass.targets, 2 + 2 + 2 + 3);
  EXPECT_EQ(pass.correct, correct);
  EXPECT_EQ(pass.stats.samples, 4);
  EXPECT_EQ(pass.stats.label_tokens, pass.targets);
  EXPECT_EQ(pass.sample_ids,
            (std::vector<std::string>{"sample-1", "sample-1", "sample-2", "text"}));
}

TEST_P(ConversationObjectiveTest, AFrozenTowerGetsNoGradientAndTheProjectorDoes) {
  for (const auto& [name, weight] : model_->weights()) weight.requires_grad_();
  Next(Questions()).loss_sum.backward();
  const auto has_gradient = [&](const std::string& prefix) {
    for (const auto& [name, weight] : model_->weights()) {
      const bool there = weight.grad().defined() && weight.grad().abs().max().item<float>() > 0.0F;
      if (name.starts_with(prefix) && there) return true;
    }
    return false;
  };
  EXPECT_EQ(has_gradient("vision_tower."), !GetParam());
  EXPECT_TRUE(has_gradient("multi_modal_projector."));
  EXPECT_TRUE(has_gradient("language_model."));
}

TEST_P(ConversationObjectiveTest, ABatchWithoutALabelHasNoLossButItsCounts) {
  Sample masked = toy::MakeSample(1);
  masked.labels.assign(masked.ids.size(), kIgnoreLabel);
  const Pass pass = Next({masked, masked});
  EXPECT_FALSE(pass.loss_sum.defined());
  EXPECT_EQ(pass.targets, 0);
  EXPECT_EQ(pass.stats.masked, 2);
}

INSTANTIATE_TEST_SUITE_P(Tower, ConversationObjectiveTest, ::testing::Bool(),
                         [](const auto& tower) { return tower.param ? "Frozen" : "Trained"; });

TEST(ConversationSourceTest, ItsErrorEndsThePass) {
  const auto model = toy::Model();
  ConversationObjective objective(
      *model, []() -> absl::StatusOr<Batch> { return absl::DataLossError("cat.jpg"); }, 5, true, 0);
  EXPECT_EQ(objective.Next().status(), absl::DataLossError("cat.jpg"));
}

}  // namespace
}  // namespace llava::training
