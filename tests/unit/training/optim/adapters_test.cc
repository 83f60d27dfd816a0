#include "training/optim/adapters.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>

#include "tests/unit/training/optim/toy.h"

namespace llava::training {
namespace {

constexpr char kQuery[] = "language_model.model.layers.0.self_attn.q_proj";

LoraOptions Options() {
  LoraOptions options;
  options.rank = 4;
  options.alpha = 12.0;
  options.targets = {"q_proj", "down_proj"};
  return options;
}

at::Tensor Output(model::Llava& model, const std::string& wanted, const at::Tensor& x) {
  const at::NoGradGuard no_grad;
  at::Tensor y;
  model.decoder().ForEachLinear([&](const std::string& name, model::Linear& layer) {
    if (name == wanted) y = layer.Forward(x);
  });
  return y;
}

TEST(AdaptersTest, TargetsAreLayersOfTheDecoderByTheLastPartOfTheirName) {
  const LoraOptions options = Options();
  EXPECT_TRUE(IsTarget(kQuery, options));
  EXPECT_TRUE(IsTarget(std::string(kQuery) + ".weight", options));
  EXPECT_FALSE(IsTarget("language_model.model.layers.0.self_attn.k_proj", options));
  EXPECT_FALSE(IsTarget("language_model.model.layers.0.self_attn.my_q_proj", options));
  EXPECT_FALSE(IsTarget("vision_tower.vision_model.encoder.layers.0.self_attn.q_proj", options));
  LoraOptions none = options;
  none.rank = 0;
  EXPECT_FALSE(IsTarget(kQuery, none));
}

TEST(AdaptersTest, PartsOfAMatrixMeanItTogether) {
  LoraOptions options = Options();
  const std::string qkv = "language_model.model.layers.0.self_attn.qkv_proj";
  EXPECT_FALSE(IsTarget(qkv, options));
  options.targets = {"k_proj", "q_proj", "v_proj"};
  EXPECT_TRUE(IsTarget(qkv, options));
  EXPECT_FALSE(IsTarget("language_model.model.layers.0.mlp.gate_up_proj", options));
  options.targets = {"gate_up_proj"};
  EXPECT_TRUE(IsTarget("language_model.model.layers.0.mlp.gate_up_proj.weight", options));
}

TEST(AdaptersTest, TargetsThatTheModelDoesNotHaveAreNamed) {
  const auto model = toy::Model();
  LoraOptions options = Options();
  EXPECT_TRUE(CheckTargets(*model, options).ok());
  EXPECT_TRUE(CheckTargets(*model, LoraOptions{.rank = 1}).ok());
  options.targets.push_back("qkv_proj");
  const absl::Status status = CheckTargets(*model, options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(status.message()),
      testing::AllOf(testing::HasSubstr("qkv_proj"), testing::HasSubstr("it has down_proj")));
  options.rank = 0;
  EXPECT_TRUE(CheckTargets(*model, options).ok());
}

TEST(AdaptersTest, EachTargetGetsTwoMatricesOfTheRank) {
  const auto model = toy::Model();
  const Adapters adapters(*model, Options(), 7);
  ASSERT_EQ(adapters.parameters().size(), 8u);  // two layers, two targets, A and B
  std::map<std::string, at::Tensor> by_name;
  for (const auto& parameter : adapters.parameters()) by_name[parameter.name] = parameter.tensor;
  const std::string down = "language_model.model.layers.1.mlp.down_proj";
  EXPECT_EQ(by_name.at(down + ".lora_A.weight").sizes(), (at::IntArrayRef{4, 32}));
  EXPECT_EQ(by_name.at(down + ".lora_B.weight").sizes(), (at::IntArrayRef{16, 4}));
  for (const auto& [name, tensor] : by_name) {
    EXPECT_EQ(tensor.abs().max().item<float>() == 0.0F, name.ends_with(".lora_B.weight")) << name;
  }
}

TEST(AdaptersTest, TheFirstMatrixHasPeftsVarianceFromSeedAndName) {
  LoraOptions options = Options();
  options.rank = 256;
  const auto model = toy::Model();
  const auto first = [&](std::uint64_t seed) {
    return Adapters(*model, options, seed).parameters().front().tensor.clone();
  };
  const at::Tensor a = first(7);
  EXPECT_NEAR(a.std().item<double>(), 1.0 / std::sqrt(3.0 * 16.0), 0.005);
  EXPECT_TRUE(at::equal(a, first(7)));
  EXPECT_FALSE(at::equal(a, first(8)));
  const Adapters adapters(*model, options, 7);
  EXPECT_EQ(adapters.parameters()[4].tensor.sizes(), a.sizes());  // the next layer's
  EXPECT_FALSE(at::equal(adapters.parameters()[4].tensor, a));
}

TEST(AdaptersTest, BeginsWithoutEffectAndIsMergedWithAlphaOverRank) {
  const auto model = toy::Model();
  const at::Tensor x = at::randn({3, 16});
  const at::Tensor before = Output(*model, kQuery, x);
  const at::Tensor weight = model->weights().at(std::string(kQuery) + ".weight").clone();
  Adapters adapters(*model, Options(), 7);
  EXPECT_TRUE(at::equal(Output(*model, kQuery, x), before));

  ASSERT_EQ(adapters.parameters()[0].name, std::string(kQuery) + ".lora_A.weight");
  const at::Tensor a = adapters.parameters()[0].tensor;
  const at::Tensor b = adapters.parameters()[1].tensor;
  b.fill_(0.25);
  const at::Tensor expected = weight + 3.0 * b.matmul(a);  // 12 / 4
  const at::Tensor adapted = Output(*model, kQuery, x);
  EXPECT_TRUE(at::allclose(adapted, x.matmul(expected.t()), 1e-4, 1e-5));

  adapters.Merge();
  EXPECT_TRUE(adapters.parameters().empty());
  EXPECT_TRUE(
      at::allclose(model->weights().at(std::string(kQuery) + ".weight"), expected, 1e-4, 1e-6));
  EXPECT_TRUE(at::allclose(Output(*model, kQuery, x), adapted, 1e-4, 1e-5));  // not twice
  adapters.Merge();
  EXPECT_TRUE(at::allclose(Output(*model, kQuery, x), adapted, 1e-4, 1e-5));
}

TEST(AdaptersTest, WithMagnitudesItBeginsWithoutEffectToo) {
  LoraOptions options = Options();
  options.use_dora = true;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto model = toy::Model(dtype);
    const at::Tensor x = at::randn({3, 16}, dtype);
    const at::Tensor before = Output(*model, kQuery, x);
    const at::Tensor weight = model->weights().at(std::string(kQuery) + ".weight").clone();
    Adapters adapters(*model, options, 7);
    EXPECT_TRUE(at::equal(Output(*model, kQuery, x), before));
    ASSERT_EQ(adapters.parameters()[2].name, std::string(kQuery) + ".lora_magnitude_vector");
    const at::Tensor magnitude = adapters.parameters()[2].tensor;
    EXPECT_EQ(magnitude.scalar_type(), at::kFloat);  // small steps are not lost
    magnitude.mul_(2.0);
    EXPECT_TRUE(at::allclose(Output(*model, kQuery, x), before * 2.0));
    adapters.Merge();
    EXPECT_TRUE(at::equal(model->weights().at(std::string(kQuery) + ".weight"), weight * 2.0));
  }
}

TEST(AdaptersTest, WhereNothingIsLearnedLengthsAreMeasuredOnce) {
  LoraOptions options = Options();
  options.use_dora = true;
  options.dropout = 0.5;
  const auto model = toy::Model();
  Adapters adapters(*model, options, 7);
  for (std::size_t i = 1; i < adapters.parameters().size(); i += 3) {
    adapters.parameters()[i].tensor.fill_(0.25);  // B
  }
  const at::Tensor x = at::randn({3, 16});
  const at::Tensor learning = Output(*model, kQuery, x);
  adapters.set_learning(false);
  const at::Tensor asked = Output(*model, kQuery, x);
  EXPECT_FALSE(at::equal(asked, learning));  // nothing is dropped
  EXPECT_TRUE(at::equal(Output(*model, kQuery, x), asked));
  adapters.set_learning(true);
  EXPECT_TRUE(at::equal(Output(*model, kQuery, x), learning));
  for (std::size_t i = 1; i < adapters.parameters().size(); i += 3) {
    adapters.parameters()[i].tensor.fill_(0.5);  // what was measured is not kept
  }
  adapters.Merge();
  const at::Tensor weight = model->weights().at(std::string(kQuery) + ".weight");
  const at::Tensor lengths = toy::Model()->weights().at(std::string(kQuery) + ".weight").norm(2, 1);
  EXPECT_TRUE(at::allclose(weight.norm(2, 1), lengths, 1e-5, 1e-6));
}

TEST(AdaptersTest, TheSeedOfAPassSaysWhatIsDropped) {
  LoraOptions options = Options();
  options.dropout = 0.5;
  const auto model = toy::Model();
  Adapters adapters(*model, options, 7);
  for (const auto& parameter : adapters.parameters()) parameter.tensor.fill_(0.5);
  const at::Tensor x = at::ones({64, 16});
  const auto pass = [&](std::uint64_t seed) {
    adapters.BeginPass(seed);
    return Output(*model, kQuery, x);
  };
  const at::Tensor first = pass(1);
  EXPECT_FALSE(at::equal(first, pass(2)));
  EXPECT_TRUE(at::equal(first, pass(1)));
}

}  // namespace
}  // namespace llava::training
