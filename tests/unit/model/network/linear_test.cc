#include "model/network/linear.h"

#include <ATen/ATen.h>

#include <memory>

#include "gtest/gtest.h"
#include "model/kernels/cuda/e4m3.h"

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

TEST(LinearTest, RowsAreALayerOfSomeOfTheOutputs) {
  const Linear linear(at::arange(1, 13, at::kFloat).view({4, 3}), at::arange(4, at::kFloat));
  const at::Tensor x = at::tensor({1.0f, -2.0f, 0.5f}).view({1, 3});
  const at::Tensor all = linear.Forward(x);
  EXPECT_TRUE(at::equal(linear.Rows(1, 2).Forward(x), all.narrow(1, 1, 2)));
  Linear packed = linear.Rows(1, 2);
  packed.Pack(WeightFormat::kFp32);
  EXPECT_TRUE(at::allclose(packed.Forward(x), all.narrow(1, 1, 2)));
}

TEST(LinearTest, RowsOfCodesAreThoseOfTheMatrix) {
  const at::Tensor weight = at::arange(24, at::kFloat).view({4, 6}) - 12;
  const at::Tensor x = at::arange(6, at::kFloat).view({1, 6});
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const Linear linear(QuantizeMatrix(weight, format));
    Linear all = linear, some = linear.Rows(1, 3);
    all.Pack(format);
    some.Pack(format);
    EXPECT_TRUE(at::equal(some.Forward(x), all.Forward(x).narrow(1, 1, 3)));
  }
}

TEST(LinearTest, ColumnsAreALayerOfSomeOfTheInputs) {
  const Linear linear(at::arange(1, 13, at::kFloat).view({4, 3}), at::arange(4, at::kFloat));
  const at::Tensor x = at::tensor({1.0f, -2.0f, 0.5f}).view({1, 3});
  Linear first = linear.Columns(0, 1, /*with_bias=*/true).Compact();
  Linear others = linear.Columns(1, 2, /*with_bias=*/false);
  EXPECT_EQ(others.in_features(), 2);
  EXPECT_FALSE(others.bias().defined());
  const auto sum = [&] {
    return first.Forward(x.narrow(1, 0, 1)) + others.Forward(x.narrow(1, 1, 2));
  };
  EXPECT_TRUE(at::allclose(sum(), linear.Forward(x)));
  first.Pack(WeightFormat::kFp32);
  others.Pack(WeightFormat::kFp32);
  EXPECT_TRUE(at::allclose(sum(), linear.Forward(x)));
}

TEST(LinearTest, ColumnsOfCodesAreThoseOfTheMatrix) {
  at::manual_seed(2);
  const at::Tensor weight = at::randn({5, 384}), x = at::randn({2, 384});
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const Linear linear(QuantizeMatrix(weight, format));
    Linear all = linear;
    Linear first = linear.Columns(0, 128, false), others = linear.Columns(128, 256, false);
    all.Pack(format);
    first.Pack(format);
    others.Pack(format);
    const at::Tensor sum =
        first.Forward(x.narrow(1, 0, 128)) + others.Forward(x.narrow(1, 128, 256));
    EXPECT_TRUE(at::allclose(sum, all.Forward(x), 1e-3, 1e-3));
  }
}

// Of more rows than are decoded at once, and a row that ends within a group and a byte.
TEST(LinearTest, CodesComputeAndLearnAsTheirNumbersDo) {
  at::manual_seed(2);
  const at::Tensor weight = at::randn({1500, 133}), bias = at::randn({1500});
  const at::Tensor x = at::randn({2, 7, 133}), loss = at::randn({2, 7, 1500});
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const QuantizedMatrix codes = QuantizeMatrix(weight, format);
      const Linear coded(codes, bias), numbers(codes.Rows(at::arange(1500)).to(dtype), bias);
      const at::Tensor ours = x.to(dtype).clone().requires_grad_();
      const at::Tensor plain = x.to(dtype).clone().requires_grad_();
      const at::Tensor found = coded.Forward(ours), expected = numbers.Forward(plain);
      (found * loss).sum().backward();
      (expected * loss).sum().backward();
      const double tolerance = dtype == at::kFloat ? 1e-5 : 2e-2;
      EXPECT_EQ(found.scalar_type(), dtype);
      EXPECT_TRUE(at::allclose(found, expected, tolerance, 10 * tolerance));
      EXPECT_TRUE(at::allclose(ours.grad(), plain.grad(), tolerance, 100 * tolerance));
      EXPECT_FALSE(coded.Forward(x.to(dtype)).requires_grad());
    }
  }
}

// In fp64, and how far from x at most.
struct RoundedToE4m3 {
  explicit RoundedToE4m3(const at::Tensor& x) : numbers(x.to(at::kDouble).clone()) {
    const at::Tensor scales = at::empty({x.size(0), 1}, at::kDouble);
    for (std::int64_t row = 0; row < x.size(0); ++row) {
      const float scale = E4m3Scale(x[row].abs().max().item<float>());
      scales[row] = scale;
      for (std::int64_t i = 0; i < x.size(1); ++i) {
        numbers[row][i] = double{FromE4m3(ToE4m3(x[row][i].item<float>() / scale))} * scale;
      }
    }
    bound = x.to(at::kDouble).abs() * 0x1p-4 + scales * 0x1p-10;
  }
  at::Tensor numbers, bound;
};

// The product of the rounded numbers, and so near to that of the others as their roundings are.
TEST(LinearTest, Fp8RoundsWeightsAndInputsRowByRow) {
  at::manual_seed(4);
  const at::Tensor weight = at::randn({37, 80}) * at::randn({37, 1}).exp();
  const at::Tensor other = at::randn({1100, 80}), bias = at::randn({1137});
  const at::Tensor x = at::randn({5, 80}) * at::randn({5, 80}).exp();
  x[2].zero_();
  const Linear layer = Linear::Packed(
      {Linear(weight, bias.narrow(0, 0, 37)), Linear(other, bias.narrow(0, 37, 1100))},
      WeightFormat::kFp8);
  EXPECT_TRUE(layer.is_there());
  EXPECT_FALSE(layer.weight().defined());
  EXPECT_EQ(layer.in_features(), 80);
  EXPECT_EQ(layer.out_features(), 1137);
  const at::Tensor all = at::cat({weight, other});
  const RoundedToE4m3 w(all), rows(x);
  EXPECT_TRUE(((w.numbers - all).abs() <= w.bound).all().item<bool>());
  const at::Tensor found = layer.Forward(x.view({5, 1, 80}));
  ASSERT_EQ(found.sizes(), at::IntArrayRef({5, 1, 1137}));
  const at::Tensor y = found.view({5, 1137}).to(at::kDouble);
  const at::Tensor rounded = at::linear(rows.numbers, w.numbers, bias.to(at::kDouble));
  EXPECT_TRUE(at::allclose(y, rounded, 1e-4, 1e-3)) << (y - rounded).abs().max().item<double>();
  const at::Tensor exact = at::linear(x.to(at::kDouble), all.to(at::kDouble), bias.to(at::kDouble));
  const at::Tensor bound = at::linear(rows.bound, all.to(at::kDouble).abs() + w.bound) +
                           at::linear(x.to(at::kDouble).abs(), w.bound) + 1e-3;
  EXPECT_TRUE(((y - exact).abs() <= bound).all().item<bool>());
  EXPECT_TRUE(at::equal(found[2][0], bias));
  EXPECT_GT((y - exact).abs().max().item<double>(), 1e-3);
  EXPECT_EQ(layer.Forward(x.narrow(0, 0, 0)).sizes(), at::IntArrayRef({0, 1137}));
  EXPECT_EQ(layer.Forward(x.to(at::kBFloat16)).scalar_type(), at::kBFloat16);
}

TEST(LinearTest, AnAdapterLearnsBesideCodes) {
  at::manual_seed(2);
  const QuantizedMatrix codes = QuantizeMatrix(at::randn({6, 64}), WeightFormat::kInt4);
  auto lora = std::make_shared<Lora>(Lora{.a_RI = at::randn({3, 64}), .b_OR = at::randn({6, 3})});
  lora->b_OR.requires_grad_();
  Linear layer(codes);
  layer.Attach(lora);
  const at::Tensor x = at::randn({5, 64}).requires_grad_();
  const at::Tensor weight = codes.Rows(at::arange(6));
  const at::Tensor y = layer.Forward(x);
  EXPECT_TRUE(at::allclose(y, at::linear(x, lora->Merged(weight)), 1e-4, 1e-4));
  y.sum().backward();
  EXPECT_TRUE(lora->b_OR.grad().defined());
  EXPECT_TRUE(at::allclose(x.grad(), lora->Merged(weight).sum(0).expand({5, 64}), 1e-4, 1e-4));
  layer.MergeLora();  // goes, and the codes stay
  EXPECT_TRUE(at::allclose(layer.Forward(x), at::linear(x, weight), 1e-4, 1e-4));
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
