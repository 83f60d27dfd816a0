#include "model/network/linear.h"

#include <ATen/ATen.h>

#include "gtest/gtest.h"

namespace llava::model {
namespace {

TEST(LinearTest, MultipliesByTheTransposedWeightAndAddsTheBias) {
  const Linear linear(at::arange(1, 7, at::kFloat).view({3, 2}), at::tensor({0.5f, 0.0f, -1.0f}));
  EXPECT_EQ(linear.in_features(), 2);
  EXPECT_EQ(linear.out_features(), 3);
  const at::Tensor y = linear.Forward(at::tensor({1.0f, 1.0f, 0.0f, 2.0f}).view({2, 1, 2}));
  EXPECT_TRUE(at::equal(y, at::tensor({3.5f, 7.0f, 10.0f, 4.5f, 8.0f, 11.0f}).view({2, 1, 3})));
}

TEST(LinearTest, KeepsTheDtypeOfItsInputWhateverTheWeightsAre) {
  const Linear linear(at::ones({4, 3}, at::kBFloat16), at::ones({4}, at::kBFloat16));
  EXPECT_EQ(linear.Forward(at::ones({2, 3}, at::kFloat)).scalar_type(), at::kFloat);
  EXPECT_EQ(linear.Forward(at::ones({2, 3}, at::kBFloat16)).scalar_type(), at::kBFloat16);
}

TEST(LinearTest, GradientsReachWeightBiasAndInput) {
  const at::Tensor weight = at::ones({2, 3}).requires_grad_();
  const at::Tensor bias = at::zeros({2}).requires_grad_();
  const at::Tensor x = at::full({4, 3}, 2.0f).requires_grad_();
  Linear(weight, bias).Forward(x).sum().backward();
  EXPECT_TRUE(at::equal(weight.grad(), at::full({2, 3}, 8.0f)));
  EXPECT_TRUE(at::equal(bias.grad(), at::full({2}, 4.0f)));
  EXPECT_TRUE(at::equal(x.grad(), at::full({4, 3}, 2.0f)));
}

}  // namespace
}  // namespace llava::model
