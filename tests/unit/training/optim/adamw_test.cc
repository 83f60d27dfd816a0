#include "training/optim/adamw.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"

namespace llava::training {
namespace {

at::Tensor Values(const std::vector<double>& values, at::ScalarType type = at::kFloat) {
  return at::tensor(values, at::kDouble).to(type);
}

// One weight of the algorithm in Loshchilov and Hutter (2019), in double.
struct NaiveAdamW {
  double w, m = 0.0, v = 0.0;
  int t = 0;

  void Step(double g, double rate, double decay, double b1, double b2, double eps) {
    ++t;
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    w -= rate * decay * w;
    w -= rate * (m / (1 - std::pow(b1, t))) / (std::sqrt(v / (1 - std::pow(b2, t))) + eps);
  }
};

TEST(AdamWTest, EqualsTheNaiveReference) {
  Rng rng(11);
  const at::Tensor weight = Values({0.5, -1.0, 2.0, 0.0}).reshape({2, 2});
  std::vector<NaiveAdamW> naive = {{0.5}, {-1.0}, {2.0}, {0.0}};
  AdamW optimizer({{"w", 0.1, 0.01, {{"w", weight}}}}, {0.9, 0.98, 1e-8});
  for (int step = 0; step < 50; ++step) {
    std::vector<double> gradient;
    for (NaiveAdamW& one : naive) {
      gradient.push_back(rng.Normal());
      one.Step(gradient.back() * 0.5, 0.1 * 0.7, 0.01, 0.9, 0.98, 1e-8);
    }
    weight.mutable_grad() = Values(gradient).reshape({2, 2});
    optimizer.Step(/*rate_factor=*/0.7, /*gradient_scale=*/0.5);
  }
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(weight.flatten()[i].item<double>(), naive[i].w, 1e-5) << "weight " << i;
  }
}

TEST(AdamWTest, MasterWeightsKeepUpdatesThatBfloat16Loses) {
  const at::Tensor weight = Values({1.0}, at::kBFloat16);
  AdamW optimizer({{"w", 1e-4, 0.0, {{"w", weight}}}}, {});
  for (int step = 0; step < 100; ++step) {
    weight.mutable_grad() = Values({1.0}, at::kBFloat16);
    optimizer.Step(1.0, 1.0);  // each step moves by 1e-4, far below bf16's resolution at 1
  }
  EXPECT_NEAR(weight.item<double>(), 0.99, 0.004);
}

TEST(AdamWTest, NormsAndBiasesAreNotDecayed) {
  const model::NamedTensor matrix{"a.weight", at::zeros({2, 3})};
  const model::NamedTensor bias{"a.bias", at::zeros({2})};
  const model::NamedTensor norm{"norm.weight", at::zeros({3})};
  const auto groups = SplitByDecay("decoder", 1e-3, 0.1, {matrix, bias, norm});
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].weight_decay, 0.1);
  ASSERT_EQ(groups[0].parameters.size(), 1u);
  EXPECT_EQ(groups[0].parameters[0].name, "a.weight");
  EXPECT_EQ(groups[1].weight_decay, 0.0);
  EXPECT_EQ(groups[1].parameters.size(), 2u);
}

TEST(AdamWTest, WithoutGradientNothingMoves) {
  const at::Tensor weight = Values({1.0, 2.0});
  AdamW optimizer({{"w", 0.1, 0.1, {{"w", weight}}}}, {});
  optimizer.Step(1.0, 1.0);
  EXPECT_EQ(weight[0].item<double>(), 1.0);
  EXPECT_EQ(optimizer.steps(), 1);
}

}  // namespace
}  // namespace llava::training
