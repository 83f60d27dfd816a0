#include "training/objective/embedding_noise.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

namespace llava::training {
namespace {

constexpr std::int64_t kWidth = 64;

TEST(EmbeddingNoiseTest, IsUniformWithinAlphaOverTheRootOfTheSamplesSize) {
  // 400 tokens of samples of 100 tokens, 400 of samples of 25.
  const at::Tensor lengths_T = at::cat({at::full({400}, 100.0), at::full({400}, 25.0)});
  const at::Tensor noise_TE = WithNoise(at::zeros({800, kWidth}), lengths_T, 5.0, 7);
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
  const at::Tensor lengths_T = at::full({6}, 6.0);
  const at::Tensor noisy_TE = WithNoise(embeddings_TE, lengths_T, 5.0, 1);
  EXPECT_TRUE(at::equal(noisy_TE, WithNoise(embeddings_TE, lengths_T, 5.0, 1)));
  EXPECT_FALSE(at::equal(noisy_TE, WithNoise(embeddings_TE, lengths_T, 5.0, 2)));
  noisy_TE.sum().backward();
  EXPECT_TRUE(at::equal(embeddings_TE.grad(), at::ones_like(embeddings_TE)));
}

}  // namespace
}  // namespace llava::training
