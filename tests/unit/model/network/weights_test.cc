#include "model/network/weights.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/support/checkpoint_fixture.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kNorm[] = "language_model.model.norm.weight";                 // [64]
constexpr char kQuery[] = "language_model.model.layers.0.self_attn.q_proj";  // [64, 64]

class WeightsTest : public testing::Test {
 protected:
  WeightsTest() : checkpoint_(*Checkpoint::Open(GoldenCheckpointDir())) {}

  Checkpoint checkpoint_;  // bf16
};

TEST_F(WeightsTest, TakesTheDtypeThatIsAskedFor) {
  CheckpointWeights stored(checkpoint_, {.dtype = std::nullopt});
  EXPECT_EQ(stored.Take(kNorm, {64}).scalar_type(), at::kBFloat16);
  CheckpointWeights wide(checkpoint_, {.dtype = at::kFloat});
  const at::Tensor norm = wide.Take(kNorm, {64});
  EXPECT_EQ(norm.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(norm, stored.taken().at(kNorm).to(at::kFloat)));
  EXPECT_TRUE(stored.status().ok() && wide.status().ok());
}

TEST_F(WeightsTest, TheFirstFailureStays) {
  CheckpointWeights source(checkpoint_, {});
  EXPECT_EQ(source.Take("no.such.weight", {2, 3}).sizes().vec(), (std::vector<std::int64_t>{2, 3}));
  source.Take(kNorm, {65});
  EXPECT_EQ(source.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(source.status().message()),
              AllOf(HasSubstr("no.such.weight"), HasSubstr("missing")));
}

TEST_F(WeightsTest, AnotherShapeNamesBoth) {
  CheckpointWeights source(checkpoint_, {});
  source.Take(kNorm, {65});
  EXPECT_EQ(source.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(source.status().message()),
              AllOf(HasSubstr(kNorm), HasSubstr("64"), HasSubstr("65")));
}

TEST_F(WeightsTest, PackingKeepsNoHandlesAndSmallWeightsWide) {
  CheckpointWeights source(checkpoint_, {.dtype = std::nullopt, .pack = WeightFormat::kBlockFloat});
  EXPECT_EQ(source.pack(), WeightFormat::kBlockFloat);
  EXPECT_EQ(source.TakeSmall(kNorm, {64}).scalar_type(), at::kFloat);
  EXPECT_FALSE(source.taken().at(kNorm).defined());
  source.Take("no.such.weight", {1});
  EXPECT_EQ(source.pack(), std::nullopt);  // placeholders are not packed
}

TEST_F(WeightsTest, FrozenLayersAreCodesAndNoWeights) {
  CheckpointWeights numbers(checkpoint_, {});
  const at::Tensor weight = numbers.Take(std::string(kQuery) + ".weight", {64, 64});
  CheckpointWeights source(checkpoint_, {.frozen_layers = WeightFormat::kInt4});
  const Linear linear = source.TakeLinear(kQuery, 64, 64, /*bias=*/false);
  ASSERT_TRUE(source.status().ok()) << source.status();
  EXPECT_FALSE(linear.weight().defined());
  EXPECT_FALSE(source.taken().at(std::string(kQuery) + ".weight").defined());
  const at::Tensor x = at::eye(64);
  const auto codes = QuantizeMatrix(weight, WeightFormat::kInt4);
  EXPECT_TRUE(at::allclose(linear.Forward(x).t(), codes.Rows(at::arange(64))));
  EXPECT_TRUE(source.Take(kNorm, {64}).defined());
}

TEST_F(WeightsTest, LinearLayersHaveABiasIfAsked) {
  CheckpointWeights source(checkpoint_, {});
  const Linear linear = source.TakeLinear(kQuery, 64, 64, /*bias=*/false);
  EXPECT_EQ(linear.out_features(), 64);
  EXPECT_FALSE(linear.bias().defined());
  CheckpointWeights other(checkpoint_, {});
  other.TakeLinear(kQuery, 64, 64, /*bias=*/true);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("q_proj.bias"));
}

TEST_F(WeightsTest, WhatNobodyTookIsExtraUnlessItIsDormant) {
  CheckpointWeights source(checkpoint_, {});
  const absl::Status left = source.CheckNothingLeft({});
  EXPECT_EQ(left.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(left.message()), HasSubstr("extra tensor"));
  const absl::Status dormant =
      source.CheckNothingLeft({"language_model.", "multi_modal_projector.", "vision_tower."});
  EXPECT_TRUE(dormant.ok()) << dormant;
}

}  // namespace
}  // namespace llava::model
