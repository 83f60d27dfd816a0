#include "model/adapter/adapter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/attention/sdpa_attention.h"
#include "model/network/llava.h"
#include "tests/support/checkpoint_fixture.h"

namespace llava::model {
namespace {

at::Tensor Delta(const AdaptedWeights& one, const at::Tensor& x) {
  return at::matmul(at::matmul(x, one.a_RI.t()), one.b_OR.t());
}

AdaptedWeights Random(int layer, const DecoderProduct& product, std::int64_t rank) {
  return {.product = {layer, std::string(product.name), product.out, product.in},
          .a_RI = at::randn({rank, product.in}) * 0.2,
          .b_OR = at::randn({product.out, rank}) * 0.2};
}

TEST(ProductDeltaTest, AddsToItsRowsAndItsPartOfTheOutput) {
  const c10::InferenceMode inference;
  const AdaptedWeights q = Random(0, {"q", 40, 24}, 3), v = Random(0, {"v", 16, 24}, 5);
  const std::vector<ProductDelta::Part> parts = {{&q, 0}, {&v, 56}};
  const ProductDelta delta(parts, at::kCPU);
  const at::Tensor x = at::randn({7, 24}), before = at::randn({7, 72});
  at::Tensor all = before.clone();
  delta.AddTo(all, x, {});
  at::Tensor expected = before.clone();
  expected.narrow(1, 0, 40).add_(Delta(q, x));
  expected.narrow(1, 56, 16).add_(Delta(v, x));
  EXPECT_TRUE(at::allclose(all, expected, 1e-5, 1e-5));

  // The same bits for a row alone, among others, and in any order.
  const at::Tensor some = at::tensor({5, 2}, at::kLong),
                   none = at::tensor(std::vector<std::int64_t>(), at::kLong);
  at::Tensor picked = before.clone();
  delta.AddTo(picked, x, some);
  EXPECT_TRUE(at::equal(picked.index_select(0, some), all.index_select(0, some)));
  EXPECT_TRUE(at::equal(picked[3], before[3]));
  at::Tensor untouched = before.clone();
  delta.AddTo(untouched, x, none);
  EXPECT_TRUE(at::equal(untouched, before));
}

class AdapterTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Llava> Load(bool pack) {
    return *Llava::Load(GoldenCheckpointDir(), {.pack = pack});
  }
  // Of all products of each layer, or of some.
  AdapterWeights Weights(int every) const {
    AdapterWeights weights;
    int number = 0;
    for (int layer = 0; layer < model_->config().text.num_layers; ++layer) {
      for (const DecoderProduct& product : DecoderProducts(model_->config().text)) {
        if (number++ % every == 0) weights.products.push_back(Random(layer, product, 4));
      }
    }
    return weights;
  }
  at::Tensor Hidden(const Llava& model, std::span<const AdapterRows> adapters,
                    const at::Tensor& rows = {}) const {
    const c10::InferenceMode inference;
    SdpaAttention attention({kTokens, kTokens});
    const at::Tensor positions = at::cat({at::arange(kTokens), at::arange(kTokens)});
    return model.Forward(model.Embed(at::arange(3, 3 + 2 * kTokens, at::kLong)), positions,
                         attention, rows, adapters);
  }
  static std::unique_ptr<Llava> Merged(const AdapterWeights& weights) {
    auto model = Load(/*pack=*/false);
    const at::NoGradGuard no_grad;
    for (const AdaptedWeights& one : weights.products) {
      const std::string name = absl::StrCat("language_model.model.layers.", one.product.layer, ".",
                                            one.product.name, ".weight");
      at::Tensor weight = model->weights().at(name);
      weight.add_(at::matmul(one.b_OR, one.a_RI));
    }
    return model;
  }

  static constexpr std::int64_t kTokens = 5;
  const std::unique_ptr<Llava> model_ = Load(/*pack=*/true);
};

TEST_F(AdapterTest, IsTheMergedModelForItsRowsAlone) {
  for (const int every : {1, 3}) {
    const AdapterWeights weights = Weights(every);
    const Adapter adapter(weights, model_->config().text, at::kCPU);
    const at::Tensor merged = Hidden(*Merged(weights), {});
    const at::Tensor plain = Hidden(*model_, {});
    EXPECT_FALSE(at::allclose(merged, plain, 1e-2, 1e-2));
    const AdapterRows all{.adapter = &adapter};
    EXPECT_TRUE(at::allclose(Hidden(*model_, {&all, 1}), merged, 1e-3, 1e-4));

    // The second sequence of two, and of its rows and the first's some are wanted.
    const AdapterRows second{.adapter = &adapter,
                             .rows_N = at::arange(kTokens, 2 * kTokens),
                             .wanted_N = at::tensor({1, 2}, at::kLong)};
    const at::Tensor rows = at::tensor({4, 6, 9}, at::kLong);
    const at::Tensor mixed = Hidden(*model_, {&second, 1}, rows);
    EXPECT_TRUE(at::equal(mixed[0], plain[4])) << "the other sequence has the same bits";
    EXPECT_TRUE(at::allclose(mixed[1], merged[6], 1e-3, 1e-4));
    EXPECT_TRUE(at::allclose(mixed[2], merged[9], 1e-3, 1e-4));
  }
}

// Of a layer's outputs each rank has some, and of a sum what its inputs give.
TEST_F(AdapterTest, ItsPartsAreThoseOfItsProducts) {
  const AdapterWeights weights = Weights(1);
  const TextConfig& text = model_->config().text;
  std::int64_t bytes = 0;
  const AdapterWeights first = ShardOf(weights, text, {.rank = 0, .size = 2});
  const AdapterWeights second = ShardOf(weights, text, {.rank = 1, .size = 2});
  EXPECT_TRUE(CheckFits(first.adapted(), ShardOf(text, 2)).ok());
  for (std::size_t i = 0; i < weights.products.size(); ++i) {
    const AdaptedWeights &all = weights.products[i], &a = first.products[i],
                         &b = second.products[i];
    const auto product = [](const AdaptedWeights& one) { return at::matmul(one.b_OR, one.a_RI); };
    const int dim = all.product.name == "self_attn.o_proj" || all.product.name == "mlp.down_proj";
    EXPECT_TRUE(at::allclose(at::cat({product(a), product(b)}, dim), product(all), 1e-5, 1e-6))
        << all.product.name;
    bytes += (a.a_RI.numel() + a.b_OR.numel()) * 4;
  }
  EXPECT_EQ(first.bytes, bytes);
}

// Phi-3 has q, k and v in one matrix: a rank has some outputs of each, not of the matrix.
TEST_F(AdapterTest, PartsOfOneMatrixAreThoseOfItsProducts) {
  const TextConfig& text = model_->config().text;
  const auto products = DecoderProducts(text);
  AdapterWeights weights;
  for (const auto& [name, first, count] :
       {std::tuple{"self_attn.qkv_proj", 0, 3}, std::tuple{"mlp.gate_up_proj", 4, 2}}) {
    std::int64_t out = 0;
    for (int i = first; i < first + count; ++i) out += products[static_cast<std::size_t>(i)].out;
    weights.products.push_back(
        {{0, name, out, text.hidden_size}, at::randn({2, text.hidden_size}), at::randn({out, 2})});
  }
  for (const std::size_t matrix : {0u, 1u}) {
    const at::Tensor whole = weights.products[matrix].b_OR;
    std::vector<at::Tensor> dealt_out;  // each product's halves side by side again
    const std::size_t first = matrix == 0 ? 0 : 3, count = matrix == 0 ? 3 : 2;
    for (std::size_t i = first; i < first + count; ++i) {
      for (const int rank : {0, 1}) {
        const AdapterWeights part = ShardOf(weights, text, {.rank = rank, .size = 2});
        ASSERT_EQ(part.products.size(), 5u);
        EXPECT_EQ(part.products[i].product.name, products[i < 3 ? i : i + 1].name);
        EXPECT_EQ(part.products[i].product.out, part.products[i].b_OR.size(0));
        dealt_out.push_back(part.products[i].b_OR);
      }
    }
    EXPECT_TRUE(at::equal(at::cat(dealt_out), whole));
  }
}

TEST_F(AdapterTest, ManyServeInOneBatch) {
  const AdapterWeights one = Weights(1), other = Weights(2);
  const Adapter first(one, model_->config().text, at::kCPU);
  const Adapter second(other, model_->config().text, at::kCPU);
  const std::vector<AdapterRows> both = {
      {.adapter = &first, .rows_N = at::arange(kTokens), .wanted_N = at::tensor({0}, at::kLong)},
      {.adapter = &second,
       .rows_N = at::arange(kTokens, 2 * kTokens),
       .wanted_N = at::tensor({1}, at::kLong)}};
  const at::Tensor mixed = Hidden(*model_, both, at::tensor({4, 9}, at::kLong));
  EXPECT_TRUE(at::allclose(mixed[0], Hidden(*Merged(one), {})[4], 1e-3, 1e-4));
  EXPECT_TRUE(at::allclose(mixed[1], Hidden(*Merged(other), {})[9], 1e-3, 1e-4));
}

}  // namespace
}  // namespace llava::model
