#include "model/network/decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "model/attention/sdpa_attention.h"
#include "model/network/llava.h"
#include "tests/support/checkpoint_fixture.h"

namespace llava::model {
namespace {

// That of the golden checkpoint, in fp32.
class DecoderTest : public testing::Test {
 protected:
  void SetUp() override {
    auto model = Llava::Load(GoldenCheckpointDir(), {});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    embeddings_ = decoder().Embed(at::arange(3, 3 + kTokens, at::kLong));
  }

  Decoder& decoder() { return model_->decoder(); }

  at::Tensor Hidden(std::int64_t first_position = 0, const at::Tensor& rows = {},
                    std::vector<at::Tensor>* trace = nullptr) {
    SdpaAttention attention({kTokens});
    const at::Tensor positions = at::arange(first_position, first_position + kTokens, at::kLong);
    return decoder().Forward(embeddings_, positions, attention, rows, trace);
  }

  static constexpr std::int64_t kTokens = 9;
  std::unique_ptr<Llava> model_;
  at::Tensor embeddings_;
};

TEST_F(DecoderTest, RowsAreThoseOfTheWholeResult) {
  const at::Tensor rows = at::tensor({8, 0, 3, 3}, at::kLong);
  EXPECT_TRUE(at::allclose(Hidden(0, rows), Hidden().index_select(0, rows), 1e-5, 1e-6));
  const at::Tensor none = at::tensor(std::vector<std::int64_t>(), at::kLong);
  EXPECT_EQ(Hidden(0, none).size(0), 0);
}

TEST_F(DecoderTest, OnlyDistancesBetweenPositionsCount) {
  EXPECT_TRUE(at::allclose(Hidden(100), Hidden(0), 1e-3, 1e-4));
}

TEST_F(DecoderTest, ATokenSeesNothingThatFollowsIt) {
  const at::Tensor before = Hidden();
  embeddings_ = embeddings_.clone();
  embeddings_[5].fill_(1);
  const at::Tensor after = Hidden();
  EXPECT_TRUE(at::equal(after.narrow(0, 0, 5), before.narrow(0, 0, 5)));
  EXPECT_FALSE(at::allclose(after.narrow(0, 5, 4), before.narrow(0, 5, 4), 1e-3, 1e-3));
}

TEST_F(DecoderTest, TheTraceIsEveryLayersInputAndTheResult) {
  std::vector<at::Tensor> trace;
  const at::Tensor hidden = Hidden(0, {}, &trace);
  ASSERT_EQ(trace.size(), static_cast<std::size_t>(model_->config().text.num_layers) + 1);
  EXPECT_TRUE(at::equal(trace.front(), embeddings_));
  EXPECT_TRUE(at::equal(trace.back(), hidden));
}

TEST_F(DecoderTest, RecomputedLayersHaveTheSameGradients) {
  const auto gradient = [&](bool recompute) {
    decoder().set_recompute(recompute);
    embeddings_ = embeddings_.detach().clone();
    embeddings_.requires_grad_();
    SdpaAttention attention({kTokens});  // must live until the backward pass
    const at::Tensor positions = at::arange(kTokens, at::kLong);
    decoder().Forward(embeddings_, positions, attention).square().sum().backward();
    return embeddings_.grad().clone();
  };
  EXPECT_TRUE(at::allclose(gradient(true), gradient(false), 1e-5, 1e-6));
}

TEST_F(DecoderTest, VisitsSevenLinearLayersOfEveryLayer) {
  std::vector<std::string> names;
  decoder().ForEachLinear([&](const std::string& name, Linear& linear) {
    EXPECT_TRUE(linear.weight().defined());
    names.push_back(name);
  });
  EXPECT_EQ(names.size(), static_cast<std::size_t>(model_->config().text.num_layers) * 7);
  EXPECT_THAT(names, testing::Contains("language_model.model.layers.0.self_attn.q_proj"));
  EXPECT_THAT(names, testing::Contains("language_model.model.layers.1.mlp.down_proj"));
}

}  // namespace
}  // namespace llava::model
