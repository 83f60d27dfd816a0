#include "training/objective/embedding_noise.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace llava::training {
namespace {

constexpr std::int64_t kWidth = 64;

TEST(EmbeddingNoiseTest, IsUniformWithinAlphaOverTheRootOfTheSamplesSize) {
  // 400 tokens of samples of 100 tokens, 400 of samples of 25.
  std::vector<SampleRun> runs;
  for (std::uint64_t key = 0; key < 4; ++key) runs.push_back({key, 0, 100, 100});
  for (std::uint64_t key = 4; key < 20; ++key) runs.push_back({key, 0, 25, 25});
  const at::Tensor noise_TE = WithNoise(at::zeros({800, kWidth}), runs, 5.0, 7);
  for (const bool is_short : {false, true}) {
    const at::Tensor part = noise_TE.narrow(0, is_short ? 400 : 0, 400);
    const double bound = 5.0 / std::sqrt((is_short ? 25.0 : 100.0) * kWidth);
    const double greatest = part.abs().max().item<double>();
    EXPECT_LE(greatest, bound * 1.0001);
    EXPECT_GE(greatest, bound * 0.99);
    EXPECT_NEAR(part.mean().item<double>(), 0.0, 0.02 * bound);
    EXPECT_NEAR(part.std().item<double>(), bound / std::sqrt(3.0), 0.02 * bound);
  }
}

TEST(EmbeddingNoiseTest, IsTheSameForASeedAndNeedsNoGradientOfItsOwn) {
  const at::Tensor embeddings_TE = at::ones({6, kWidth}).requires_grad_();
  const std::vector<SampleRun> runs = {{3, 0, 6, 6}};
  const at::Tensor noisy_TE = WithNoise(embeddings_TE, runs, 5.0, 1);
  EXPECT_TRUE(at::equal(noisy_TE, WithNoise(embeddings_TE, runs, 5.0, 1)));
  EXPECT_FALSE(at::equal(noisy_TE, WithNoise(embeddings_TE, runs, 5.0, 2)));
  noisy_TE.sum().backward();
  EXPECT_TRUE(at::equal(embeddings_TE.grad(), at::ones_like(embeddings_TE)));
}

// Beside others, or alone, as on another number of ranks; of one that begins like another only the
// rest.
TEST(EmbeddingNoiseTest, OfASampleIsTheSameWhateverItIsPackedWith) {
  const SampleRun first = {1, 0, 4, 4}, second = {2, 0, 6, 6}, rest = {2, 2, 4, 6};
  const at::Tensor both = WithNoise(at::zeros({10, kWidth}), {first, second}, 5.0, 1);
  const at::Tensor alone = WithNoise(at::zeros({6, kWidth}), {second}, 5.0, 1);
  EXPECT_TRUE(at::equal(both.narrow(0, 4, 6), alone));
  EXPECT_TRUE(at::equal(WithNoise(at::zeros({4, kWidth}), {rest}, 5.0, 1), alone.narrow(0, 2, 4)));
  EXPECT_FALSE(at::equal(both.narrow(0, 0, 4), alone.narrow(0, 0, 4)));
}

}  // namespace
}  // namespace llava::training
