#include "model/network/decoder.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "model/attention/sdpa_attention.h"
#include "model/network/llava.h"
#include "model/ranks/rank_threads.h"
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

using Trace = std::vector<at::Tensor>;

// What the layers of each of `size` ranks go through: forward(rank, sum, trace) of all at a time.
template <typename Forward>
std::vector<Trace> OnRanks(int size, const Forward& forward) {
  TurnOffFlightRecorder();
  const auto devices = std::vector<at::Device>(static_cast<std::size_t>(size), at::kCPU);
  const auto ranks = RankThreads::Start(devices, 0);
  EXPECT_TRUE(ranks.ok()) << ranks.status();
  std::vector<Trace> traces(devices.size());
  const absl::Status status = (*ranks)->Run([&](int rank) -> absl::Status {
    const c10::InferenceMode inference;
    const auto sum = [&](const at::Tensor& tensor) { (*ranks)->Sum(rank, tensor); };
    forward(rank, sum, &traces[static_cast<std::size_t>(rank)]);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return traces;
}

// Every rank has the rows of the whole model before each layer, and all of them the same.
void ExpectSame(const std::vector<Trace>& traces, const Trace& whole, double tolerance) {
  for (const Trace& trace : traces) {
    ASSERT_EQ(trace.size(), whole.size());
    for (std::size_t layer = 0; layer < whole.size(); ++layer) {
      EXPECT_TRUE(at::allclose(trace[layer], whole[layer], tolerance, tolerance))
          << "before layer " << layer << ": "
          << (trace[layer] - whole[layer]).abs().max().item<float>();
      EXPECT_TRUE(at::equal(trace[layer], traces.front()[layer])) << layer;
    }
  }
}

at::Generator Seeded(std::uint64_t seed) { return at::detail::createCPUGenerator(seed); }

// Random numbers, the same for the same name, of which a rank keeps its part.
class RandomWeights final : public WeightSource {
 public:
  explicit RandomWeights(LayerShard shard) : shard_(shard) {}
  at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) override {
    // Of its own generator: ranks take theirs at the same time.
    at::Tensor tensor = at::randn(shape, Seeded(std::hash<std::string>()(name))) * 0.3;
    Keep(name, tensor);
    return tensor;
  }
  std::optional<Packing> pack() const override { return Packing(WeightFormat::kFp32); }
  LayerShard shard() const override { return shard_; }

 private:
  const LayerShard shard_;
};

Trace RunRandom(const TextConfig& text, LayerShard shard, const SumOverRanks& sum) {
  RandomWeights source(shard);
  const DecoderLayers layers(text, source, at::kCPU);
  SdpaAttention attention({7});
  const at::Tensor rows = at::randn({7, text.hidden_size}, Seeded(1));
  Trace trace;
  trace.push_back(layers.Forward(rows, at::arange(7, at::kLong), attention, {}, &trace, {}, sum));
  return trace;
}

// Of every kind of layer that a decoder has: with and without grouped heads, biases (the sum has
// those of outputs once), fused matrices, and norms of heads.
TEST(DecoderLayersTest, PartsOfRandomLayersAddUpToTheWhole) {
  TextConfig plain;
  plain.hidden_size = 40;
  plain.intermediate_size = 72;
  plain.num_layers = 2;
  plain.num_heads = 12;
  plain.num_kv_heads = 6;
  plain.head_dim = 8;
  plain.max_positions = 64;
  plain.rope.theta = 10000;
  TextConfig biased = plain, fused = plain, normed = plain;
  biased.qkv_bias = biased.output_bias = biased.mlp_bias = true;
  fused.fused = true;
  normed.qk_norm = true;
  for (const TextConfig& text : {plain, biased, fused, normed}) {
    const c10::InferenceMode inference;
    const Trace whole = RunRandom(text, {}, nullptr);
    for (const int size : {2, 3}) {
      const auto traces = OnRanks(size, [&](int rank, const SumOverRanks& sum, Trace* trace) {
        *trace = RunRandom(text, {.rank = rank, .size = size}, sum);
      });
      ExpectSame(traces, whole, 1e-4);
    }
  }
}

// A checkpoint's, as it is loaded: rank 0 has a Llava, whose other parts are whole.
void ExpectSameAsWhole(const LoadOptions& options, double tolerance) {
  const c10::InferenceMode inference;
  const at::Tensor ids = at::arange(3, 12, at::kLong), positions = at::arange(9, at::kLong);
  const auto load = [&](int rank, int size) {
    LoadOptions of_rank = options;
    of_rank.pack = true;
    of_rank.shard = {.rank = rank, .size = size};
    return of_rank;
  };
  const auto whole = Llava::Load(GoldenCheckpointDir(), load(0, 1));
  const auto first = Llava::Load(GoldenCheckpointDir(), load(0, 2));
  const auto second = Llava::LoadLayers(GoldenCheckpointDir(), load(1, 2));
  ASSERT_TRUE(whole.ok() && first.ok() && second.ok()) << first.status() << second.status();
  const at::Tensor rows = (*first)->Embed(ids);
  SdpaAttention attention({ids.numel()});
  Trace expected;
  const at::Tensor hidden = (*whole)->decoder().Forward(rows, positions, attention, {}, &expected);
  at::Tensor hidden_of_parts;
  const auto traces = OnRanks(2, [&](int rank, const SumOverRanks& sum, Trace* trace) {
    SdpaAttention own({ids.numel()});
    if (rank == 1) {
      (*second)->Forward(rows, positions, own, {}, trace, {}, sum);
    } else {
      hidden_of_parts = (*first)->decoder().Forward(rows, positions, own, {}, trace, {}, sum);
      trace->pop_back();  // after the final norm, which this rank alone has
    }
  });
  expected.pop_back();
  ExpectSame(traces, expected, tolerance);
  EXPECT_TRUE(at::allclose((*first)->Logits(hidden_of_parts), (*whole)->Logits(hidden), tolerance,
                           tolerance));
}

TEST(DecoderLayersTest, PartsOfACheckpointAddUpToTheWhole) { ExpectSameAsWhole({}, 1e-4); }

TEST(DecoderLayersTest, SoDoThoseInOtherNumberFormats) {
  ExpectSameAsWhole({.dtype = at::kBFloat16}, 0.05);
  // Codes are made of each part, whose groups are not those of the whole.
  ExpectSameAsWhole({.quantization = Quantization::kInt8}, 0.1);
}

TEST(DecoderLayersTest, WhatCannotBeDealtOutIsRefused) {
  for (const auto& [checkpoint, ranks, name] :
       {std::tuple{"checkpoint", 4, "num_key_value_heads of the language model is 2"},
        std::tuple{"families/llava_phi3/checkpoint", 2,
                   "num_attention_heads of the language model is 3"}}) {
    const std::string directory = std::string("tests/golden/data/") + checkpoint;
    const auto loaded = Llava::Load(directory, {.pack = true, .shard = {.rank = 0, .size = ranks}});
    EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(loaded.status().message()), testing::HasSubstr(name));
  }
}

}  // namespace
}  // namespace llava::model
