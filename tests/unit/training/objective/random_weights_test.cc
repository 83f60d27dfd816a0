#include "training/objective/random_weights.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace llava::training {
namespace {

constexpr char kLayer[] = "language_model.model.layers.0.";
constexpr char kBlock[] = "vision_tower.vision_model.encoder.layers.0.";

double Deviation(const std::string& name, const std::vector<std::int64_t>& shape) {
  RandomWeights weights(3, at::kFloat, at::kCPU);
  const at::Tensor tensor = weights.Take(name, shape);
  EXPECT_NEAR(tensor.mean().item<double>(), 0.0, 0.05 * tensor.std().item<double>()) << name;
  return tensor.std().item<double>();
}

TEST(RandomWeightsTest, NormsAreOneAndBiasesZero) {
  RandomWeights weights(3, at::kFloat, at::kCPU);
  EXPECT_TRUE(at::equal(weights.Take("language_model.model.norm.weight", {8}), at::ones({8})));
  EXPECT_TRUE(at::equal(weights.Take("multi_modal_projector.linear_1.bias", {8}), at::zeros({8})));
}

TEST(RandomWeightsTest, MatricesKeepTheVarianceOfTheirInputs) {
  const double tolerance = 0.05;
  const double plain = 1.0 / std::sqrt(100.0);
  EXPECT_NEAR(Deviation(std::string(kLayer) + "self_attn.q_proj.weight", {200, 100}) / plain, 1.0,
              tolerance);
  // All axes but the first are inputs.
  EXPECT_NEAR(Deviation("patch_embedding.weight", {200, 4, 5, 5}) / plain, 1.0, tolerance);
  for (const char* name : {"self_attn.o_proj.weight", "mlp.down_proj.weight"}) {
    EXPECT_NEAR(Deviation(std::string(kLayer) + name, {200, 100}) / (0.3 * plain), 1.0, tolerance);
  }
  for (const char* name : {"self_attn.out_proj.weight", "mlp.fc2.weight"}) {
    EXPECT_NEAR(Deviation(std::string(kBlock) + name, {200, 100}) / (0.3 * plain), 1.0, tolerance);
  }
}

TEST(RandomWeightsTest, TablesHaveADeviationOfTheirOwn) {
  const double tolerance = 0.05;
  EXPECT_NEAR(Deviation("language_model.model.embed_tokens.weight", {200, 100}) / 0.3, 1.0,
              tolerance);
  EXPECT_NEAR(Deviation("embeddings.position_embedding.weight", {200, 100}) / 0.02, 1.0, tolerance);
  EXPECT_NEAR(Deviation("embeddings.class_embedding", {20000}) / 0.02, 1.0, tolerance);
  EXPECT_NEAR(Deviation("image_newline", {20000}) * std::sqrt(20000.0), 1.0, tolerance);
}

TEST(RandomWeightsTest, ATensorDependsOnSeedAndNameAlone) {
  const auto take = [](std::uint64_t seed, const std::string& name, bool after_another) {
    RandomWeights weights(seed, at::kFloat, at::kCPU);
    if (after_another) weights.Take("another.weight", {7, 7});
    return weights.Take(name, {8, 8});
  };
  const at::Tensor tensor = take(3, "a.weight", false);
  EXPECT_TRUE(at::equal(take(3, "a.weight", true), tensor));
  EXPECT_FALSE(at::equal(take(4, "a.weight", false), tensor));
  EXPECT_FALSE(at::equal(take(3, "b.weight", false), tensor));
}

TEST(RandomWeightsTest, KeepsWhatItGaveInTheDtypeThatWasAsked) {
  RandomWeights weights(3, at::kBFloat16, at::kCPU);
  for (const char* name : {"a.weight", "norm.weight", "a.bias"}) {
    const bool matrix = std::string(name) == "a.weight";
    const at::Tensor tensor =
        weights.Take(name, matrix ? std::vector<std::int64_t>{4, 4} : std::vector<std::int64_t>{4});
    EXPECT_EQ(tensor.scalar_type(), at::kBFloat16) << name;
    EXPECT_TRUE(weights.taken().at(name).is_same(tensor)) << name;
  }
}

}  // namespace
}  // namespace llava::training
