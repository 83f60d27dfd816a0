// What serves on GPUs, as a whole and without one: a decoder whose norms, rotations, cache and
// attention go through the kernels for GPUs, run by tests/support/cuda_emulator.h, against the same
// weights in ATen operators without a cache. Beside it paged_attention_test.cc of tests/unit runs
// once more, on these kernels.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/attention/paged_attention.h"
#include "model/attention/sdpa_attention.h"
#include "model/kernels/cuda/tensors.h"
#include "model/network/decoder.h"
#include "model/network/rows.h"
#include "tests/support/cuda_emulator_torch.h"

namespace llava::model {
namespace {

constexpr int kLayers = 3;

TextConfig Plain() {
  TextConfig text;
  text.hidden_size = 64;
  text.intermediate_size = 72;
  text.num_layers = kLayers;
  text.num_heads = 6;
  text.num_kv_heads = 2;
  text.head_dim = 16;
  text.max_positions = 64;
  text.rope.theta = 10000;
  return text;
}

// Random numbers, the same for the same name.
class RandomWeights final : public WeightSource {
 public:
  explicit RandomWeights(bool packed) : packed_(packed) {}
  at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) override {
    at::manual_seed(std::hash<std::string>()(name));
    at::Tensor tensor = at::randn(shape) * 0.3;
    Keep(name, tensor);
    return tensor;
  }
  std::optional<Packing> pack() const override {
    return packed_ ? std::optional(Packing(WeightFormat::kFp32)) : std::nullopt;
  }

 private:
  const bool packed_;
};

DecoderLayers Layers(const TextConfig& text, bool packed) {
  RandomWeights source(packed);
  return DecoderLayers(text, source, at::kCPU);
}

struct Sequence {
  Sequence(const TextConfig& text, const DecoderLayers& plain, std::int64_t length,
           std::vector<std::int32_t> table)
      : blocks(std::move(table)) {
    at::manual_seed(static_cast<std::uint64_t>(length));
    embeddings = at::randn({length, text.hidden_size});
    SdpaAttention attention({length});
    // Where gradients are recorded no kernel for rows is taken.
    expected = plain.Forward(embeddings, at::arange(length, at::kLong), attention, {}, nullptr, {},
                             nullptr);
  }

  at::Tensor embeddings, expected;  // [length, E]
  std::vector<std::int32_t> blocks;
  std::int64_t computed = 0;
};

// Layers, their cache and the attention over it.
class Server {
 public:
  explicit Server(const TextConfig& text)
      : layers_(Layers(text, /*packed=*/true)),
        cache_(*KvCache::Create(Shape(text), 8 * KvCache::BlockBytes(Shape(text)))),
        attention_(MakePagedAttention(cache_)) {}

  // The next tokens of some sequences in one step, each compared.
  void Run(const std::vector<std::pair<Sequence*, std::int64_t>>& chunks) {
    const c10::InferenceMode inference;
    std::vector<PagedSequence> batch;
    std::vector<at::Tensor> rows, positions, expected;
    std::int64_t row = 0;
    for (const auto& [sequence, tokens] : chunks) {
      const std::int64_t first = std::exchange(sequence->computed, sequence->computed + tokens);
      batch.push_back({row, tokens, first, sequence->blocks});
      rows.push_back(sequence->embeddings.narrow(0, first, tokens));
      expected.push_back(sequence->expected.narrow(0, first, tokens));
      positions.push_back(at::arange(first, first + tokens, at::kLong));
      row += tokens;
    }
    attention_->Refill(batch);
    const at::Tensor found =
        layers_.Forward(at::cat(rows), at::cat(positions), *attention_, {}, nullptr, {}, nullptr);
    EXPECT_TRUE(at::allclose(found, at::cat(expected), 1e-3, 1e-3))
        << "largest difference " << (found - at::cat(expected)).abs().max().item<float>();
  }

 private:
  static KvShape Shape(const TextConfig& text) {
    return {.layers = text.num_layers,
            .kv_heads = text.num_kv_heads,
            .head_dim = text.head_dim,
            .layout = KvLayout::kRows};
  }

  DecoderLayers layers_;
  KvCache cache_;
  std::unique_ptr<PagedAttention> attention_;
};

TEST(EmulatedGpuTest, TensorsOfTheCpuStandForThoseOfAGpu) {
  EXPECT_TRUE(HasCudaKernels(at::zeros({2, 8})));
}

// By the kernel, to the bits of the plain operators, whose dtype it is not made for.
TEST(EmulatedGpuTest, PixelsAreThoseOfPlainOperators) {
  const at::Tensor bytes = at::randint(256, {4, 3, 14, 14}, at::kByte);
  const at::Tensor tables = at::randn({4, 3, 256});
  const at::Tensor plain = PixelRows(bytes, tables.to(at::kDouble), at::kDouble).to(at::kFloat);
  EXPECT_TRUE(at::equal(PixelRows(bytes, tables, at::kFloat), plain));
  EXPECT_TRUE(at::equal(PixelRows(bytes, tables, at::kBFloat16), plain.to(at::kBFloat16)));
}

TEST(EmulatedGpuTest, PromptsChunksAndDecodedTokensAreThoseOfPlainOperators) {
  const TextConfig plain = Plain();
  TextConfig biased = plain, fused = plain, normed = plain, partial = plain, odd = plain;
  biased.qkv_bias = biased.output_bias = biased.mlp_bias = true;
  fused.fused = true;
  normed.qk_norm = true;
  partial.rope.rotated = 8;
  odd.hidden_size = 60;  // norms by ATen
  for (const TextConfig& text : {plain, biased, fused, normed, partial, odd}) {
    const DecoderLayers layers = Layers(text, /*packed=*/false);
    Sequence a(text, layers, 36, {5, 0, 3}), b(text, layers, 8, {2});
    Server server(text);
    server.Run({{&a, 17}});
    server.Run({{&b, 5}, {&a, 15}});
    server.Run({{&a, 1}, {&b, 2}});
    server.Run({{&b, 1}, {&a, 3}});
  }
}

// In one launch for all of them; a first chunk is SDPA's.
TEST(EmulatedGpuTest, ChunksBehindCachedTokensAttendInPlace) {
  const KvShape shape{.layers = 1,
                      .kv_heads = 2,
                      .head_dim = 16,
                      .dtype = at::kBFloat16,
                      .layout = KvLayout::kRows};
  KvCache cache = *KvCache::Create(shape, 8 * KvCache::BlockBytes(shape));
  const std::unique_ptr<PagedAttention> attention = MakePagedAttention(cache);
  at::manual_seed(5);
  // Of two sequences of 60 tokens, one after the other.
  const auto random = [](std::int64_t heads) {
    return at::randn({120, heads, 16}).to(at::kBFloat16);
  };
  const at::Tensor q = random(4), k = random(2), v = random(2);
  const at::Tensor expected =
      SdpaAttention({60, 60}).Forward(0, q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat));
  const std::vector<std::int32_t> a = {6, 1, 3, 0}, b = {5, 2, 7, 4};
  for (const auto& [first, tokens] :
       {std::pair<std::int64_t, std::int64_t>{0, 21}, {21, 2}, {23, 20}, {43, 17}}) {
    const std::vector<PagedSequence> batch = {{0, tokens, first, a}, {tokens, tokens, first, b}};
    attention->Refill(batch);
    const auto rows = [&, first = first, tokens = tokens](const at::Tensor& x) {
      return at::cat({x.narrow(0, first, tokens), x.narrow(0, 60 + first, tokens)});
    };
    const std::uint64_t before = cuda_emulator::Launches();
    const at::Tensor found = attention->Forward(0, rows(q), rows(k), rows(v));
    EXPECT_EQ(cuda_emulator::Launches() - before, first == 0 ? 1 : 2);  // keys are written, too
    EXPECT_TRUE(at::allclose(found.to(at::kFloat), rows(expected), 2e-2, 1e-2));
  }
}

// A cache of fp8 through all three ways: a prompt's first chunk, chunks behind it and decoded
// tokens. Near the same attention over keys and values of e4m3, which they are by now, and within
// what 3 bits of mantissa cost of the numbers that came.
TEST(EmulatedGpuTest, ACacheOfFp8IsReadInPlace) {
  const KvShape shape{.layers = 1,
                      .kv_heads = 2,
                      .head_dim = 16,
                      .dtype = at::kFloat8_e4m3fn,
                      .layout = KvLayout::kRows};
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    KvCache cache = *KvCache::Create(shape, 8 * KvCache::BlockBytes(shape));
    cache.Rows(0).first.view(at::kByte).fill_(0x7f);  // NaN
    cache.Rows(0).second.view(at::kByte).fill_(0x7f);
    const std::unique_ptr<PagedAttention> attention = MakePagedAttention(cache);
    at::manual_seed(5);
    const auto random = [&](std::int64_t heads) { return at::randn({120, heads, 16}).to(dtype); };
    const at::Tensor q = random(4), k = random(2), v = random(2);
    const auto reference = [&](const at::Tensor& keys, const at::Tensor& values) {
      return SdpaAttention({60, 60}).Forward(0, q.to(at::kFloat), keys.to(at::kFloat),
                                             values.to(at::kFloat));
    };
    const at::Tensor rounded = reference(cache.Held(k), cache.Held(v)), exact = reference(k, v);
    const std::vector<std::int32_t> a = {6, 1, 3, 0}, b = {5, 2, 7, 4};
    for (const auto& [first, tokens] :
         {std::pair<std::int64_t, std::int64_t>{0, 21}, {21, 2}, {23, 20}, {43, 1}, {44, 16}}) {
      const std::vector<PagedSequence> batch = {{0, tokens, first, a}, {tokens, tokens, first, b}};
      attention->Refill(batch);
      const auto rows = [&, first = first, tokens = tokens](const at::Tensor& x) {
        return at::cat({x.narrow(0, first, tokens), x.narrow(0, 60 + first, tokens)});
      };
      const at::Tensor found = attention->Forward(0, rows(q), rows(k), rows(v)).to(at::kFloat);
      const double tolerance = dtype == at::kFloat ? 1e-4 : 2e-2;
      EXPECT_TRUE(at::allclose(found, rows(rounded), tolerance, tolerance)) << first;
      EXPECT_LT((found - rows(exact)).abs().max().item<double>(), 0.25) << first;
    }
  }
}

// Nothing of a batch but its size may be part of a launch: contexts, tables and slots are read
// where they stand, by launches that were made for another batch.
TEST(EmulatedGpuTest, APassOverDecodedTokensThatWasRecordedServesOtherBatches) {
  constexpr std::int64_t kSequences = 4, kWidth = 8, kMostKeys = kWidth * kKvBlockTokens;
  const KvShape shape{.layers = 1, .kv_heads = 2, .head_dim = 16, .layout = KvLayout::kRows};
  const std::int64_t bytes = kSequences * kWidth * KvCache::BlockBytes(shape);
  KvCache cache = *KvCache::Create(shape, bytes), other_cache = *KvCache::Create(shape, bytes);
  at::manual_seed(6);
  for (const auto& [from, to] : {std::pair(cache.Rows(0).first, other_cache.Rows(0).first),
                                 {cache.Rows(0).second, other_cache.Rows(0).second}}) {
    to.copy_(from.normal_());
  }
  const auto attention = MakePagedAttention(cache), other = MakePagedAttention(other_cache);
  attention->ReserveKeys(kMostKeys);
  const at::Tensor q = at::randn({kSequences, 4, 16}), k = at::randn({kSequences, 2, 16}),
                   v = at::randn({kSequences, 2, 16});
  std::vector<std::vector<std::int32_t>> tables(kSequences);
  for (std::int32_t block = 0; block < kSequences * kWidth; ++block) {
    tables[static_cast<std::size_t>(block % kSequences)].push_back(block);
  }
  at::Tensor out;
  std::vector<std::function<void()>> launches;
  for (const std::vector<std::int64_t>& contexts : {std::vector<std::int64_t>{5, 40, 0, 16},
                                                    {127, 0, 1, 15},
                                                    {99, 127, 126, 70},
                                                    {0, 0, 0, 0}}) {
    std::vector<PagedSequence> batch;
    for (std::size_t i = 0; i < tables.size(); ++i) {
      batch.push_back({static_cast<std::int64_t>(i), 1, contexts[i], tables[i]});
    }
    for (const at::Tensor& x : {q, k, v}) x.normal_();
    attention->Refill(batch);
    other->Refill(batch);
    if (launches.empty()) {
      attention->Forward(0, q, k, v);  // makes its room
      cuda_emulator::recording = &launches;
      out = attention->Forward(0, q, k, v);
      cuda_emulator::recording = nullptr;
      ASSERT_EQ(launches.size(), 2u);  // keys and values are written, and attended to
    } else {
      out.fill_(std::numeric_limits<double>::quiet_NaN());
      for (const auto& launch : launches) launch();
    }
    EXPECT_TRUE(at::allclose(out, other->Forward(0, q, k, v), 1e-4, 1e-4)) << contexts[0];
    EXPECT_TRUE(at::equal(cache.Rows(0).first, other_cache.Rows(0).first)) << contexts[0];
    std::rotate(tables.begin(), tables.begin() + 1, tables.end());
  }
}

// Products aside: what a step of a large model spends on launches (docs/benchmarks.md).
TEST(EmulatedGpuTest, ADecodedTokenCostsFiveLaunchesALayerBesideItsProducts) {
  const TextConfig text = Plain();
  const DecoderLayers layers = Layers(text, /*packed=*/false);
  Sequence a(text, layers, 20, {5, 0}), b(text, layers, 8, {2});
  Server server(text);
  server.Run({{&b, 7}, {&a, 19}});
  const std::uint64_t before = cuda_emulator::Launches();
  server.Run({{&a, 1}, {&b, 1}});
  EXPECT_EQ(cuda_emulator::Launches() - before, 5 * kLayers);
}

}  // namespace
}  // namespace llava::model
