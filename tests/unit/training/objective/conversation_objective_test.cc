#include "training/objective/conversation_objective.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "model/attention/sdpa_attention.h"
#include "model/config/image_layout.h"
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
    const SampleImage& image = sample.images[span.image];
    const at::Tensor features =
        model.PackImage(model.EncodeImages(PixelTensor({&image}, model)), image.layout);
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

// The toy with pictures of up to four tiles beside the whole.
model::LlavaConfig TiledConfig() {
  model::LlavaConfig config = toy::Config();
  config.architecture = model::Architecture::kLlavaNext;
  config.anyres.pinpoints = {{8, 16}, {16, 8}, {16, 16}};
  return config;
}

// A question about pictures of these sizes.
Sample TiledSample(const std::string& id, const std::vector<model::ImageSize>& sizes) {
  Rng rng(sizes.size() + static_cast<std::uint64_t>(sizes.front().width));
  Sample sample;
  sample.id = id;
  sample.ids = {1};
  for (const model::ImageSize& size : sizes) {
    SampleImage& image = sample.images.emplace_back();
    image.layout = model::LayoutOf(TiledConfig(), size, static_cast<int>(sizes.size()));
    image.height = image.width = 8;
    toy::FillPixels(rng, 0.0, 1.0, &image);
    image.digest = Sha256Of(absl::StrCat(id, size.width, " ", size.height));
    sample.image_spans.push_back({static_cast<std::int32_t>(sample.ids.size()), image.layout.tokens,
                                  static_cast<std::int32_t>(sample.image_spans.size())});
    sample.ids.insert(sample.ids.end(), static_cast<std::size_t>(image.layout.tokens),
                      toy::kImageToken);
  }
  sample.labels.assign(sample.ids.size(), kIgnoreLabel);
  for (const std::int32_t token : {5, 20, 2}) {
    sample.ids.push_back(token);
    sample.labels.push_back(token == 5 ? kIgnoreLabel : token);
  }
  return sample;
}

class TiledObjectiveTest : public ::testing::TestWithParam<bool> {
 protected:
  TiledObjectiveTest() {
    RandomWeights weights(3, at::kFloat, at::kCPU);
    model_ = std::make_unique<model::Llava>(TiledConfig(), weights);
  }

  // Wide, tall, larger than the canvas, thin; two in one row; the first picture asked again.
  static std::vector<Sample> Samples() {
    Sample again = TiledSample("wide", {{16, 8}});
    again.ids.end()[-2] = again.labels.end()[-2] = 21;
    Sample text = TiledSample("text", {{8, 8}});
    text.images.clear();
    text.image_spans.clear();
    return {TiledSample("wide", {{16, 8}}),        again,
            TiledSample("tall", {{7, 16}}),        text,
            TiledSample("large", {{40, 40}}),      TiledSample("thin", {{30, 2}}),
            TiledSample("two", {{9, 16}, {16, 8}})};
  }

  at::Tensor Loss() {
    ConversationObjective objective(
        *model_, []() -> absl::StatusOr<Batch> { return Collate(Samples()); }, 1,
        /*tower_is_frozen=*/GetParam(), 1 << 20);
    absl::StatusOr<Pass> pass = objective.Next();
    EXPECT_TRUE(pass.ok()) << pass.status();
    return pass->loss_sum;
  }

  std::unique_ptr<model::Llava> model_;
};

TEST_P(TiledObjectiveTest, TheLossIsThatOfEachSampleAlone) {
  double loss = 0.0;
  for (const Sample& sample : Samples()) loss += Alone(*model_, sample).loss;
  EXPECT_NEAR(Loss().item<double>(), loss, 1e-5 * loss);
}

TEST_P(TiledObjectiveTest, TheEndOfARowAndAllPartsGetTheirGradients) {
  for (const auto& [name, weight] : model_->weights()) weight.requires_grad_();
  Loss().backward();
  std::vector<std::string> prefixes = {"image_newline", "multi_modal_projector.linear_1.",
                                       "language_model."};
  if (!GetParam()) prefixes.emplace_back("vision_tower.vision_model.embeddings.");
  for (const std::string& prefix : prefixes) {
    for (const auto& [name, weight] : model_->weights()) {
      if (!name.starts_with(prefix)) continue;
      ASSERT_TRUE(weight.grad().defined()) << name;
      EXPECT_GT(weight.grad().abs().max().item<float>(), 0.0F) << name;
    }
  }
  // Against a difference along the gradient.
  const at::Tensor newline = model_->weights().at("image_newline");
  const at::Tensor gradient = newline.grad();
  const double norm = gradient.norm().item<double>();
  const double step = 1e-2;
  const at::NoGradGuard no_grad;
  newline.add_(gradient, step / norm);
  const double above = Loss().item<double>();
  newline.sub_(gradient, 2.0 * step / norm);
  const double below = Loss().item<double>();
  EXPECT_NEAR((above - below) / (2.0 * step), norm, 0.02 * norm);
}

INSTANTIATE_TEST_SUITE_P(Tower, TiledObjectiveTest, ::testing::Bool(),
                         [](const auto& tower) { return tower.param ? "Frozen" : "Trained"; });

TEST(ConversationSourceTest, ItsErrorEndsThePass) {
  const auto model = toy::Model();
  ConversationObjective objective(
      *model, []() -> absl::StatusOr<Batch> { return absl::DataLossError("cat.jpg"); }, 5, true, 0);
  EXPECT_EQ(objective.Next().status(), absl::DataLossError("cat.jpg"));
}

}  // namespace
}  // namespace llava::training
