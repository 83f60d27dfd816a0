#include "training/objective/feature_cache.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/unit/training/optim/toy.h"

namespace llava::training {
namespace {

// An 8 x 8 picture has 4 patches with 16 features each.
constexpr std::int64_t kBytesPerImage = 4 * 16 * sizeof(float);

class FeatureCacheTest : public ::testing::Test {
 protected:
  FeatureCacheTest() {
    for (int i = 0; i < 3; ++i) images_.push_back(toy::MakeSample(i).images.front());
  }

  at::Tensor Fresh(std::size_t image) const {
    return FeatureCache(*model_, 0).Get({&images_[image]});
  }

  const std::unique_ptr<model::Llava> model_ = toy::Model();
  std::vector<SampleImage> images_;
};

TEST_F(FeatureCacheTest, AnImageHasItsFeaturesWhateverItsCompany) {
  FeatureCache cache(*model_, 1 << 20);
  const at::Tensor features = cache.Get({&images_[2], &images_[0], &images_[2]});
  EXPECT_EQ(features.sizes(), (at::IntArrayRef{3, 4, 16}));
  EXPECT_TRUE(at::equal(features, at::cat({Fresh(2), Fresh(0), Fresh(2)})));
  EXPECT_FALSE(at::equal(Fresh(2), Fresh(0)));
  EXPECT_FALSE(features.requires_grad());
  EXPECT_EQ(cache.bytes(), 2 * kBytesPerImage);
}

TEST_F(FeatureCacheTest, AKeptImageIsNotComputedAgain) {
  FeatureCache cache(*model_, 1 << 20);
  const at::Tensor before = cache.Get({&images_[0]});
  SampleImage same_digest = images_[1];
  same_digest.digest = images_[0].digest;
  EXPECT_TRUE(at::equal(cache.Get({&same_digest}), before));
  EXPECT_EQ(cache.bytes(), kBytesPerImage);
}

TEST_F(FeatureCacheTest, BeyondItsBytesItComputesEachTime) {
  FeatureCache cache(*model_, 2 * kBytesPerImage);  // room for two, exactly
  cache.Get({&images_[0], &images_[1], &images_[2]});
  EXPECT_EQ(cache.bytes(), 2 * kBytesPerImage);
  SampleImage kept = images_[2];
  kept.digest = images_[1].digest;
  EXPECT_TRUE(at::equal(cache.Get({&kept}), Fresh(1)));
  SampleImage not_kept = images_[0];
  not_kept.digest = images_[2].digest;
  EXPECT_TRUE(at::equal(cache.Get({&not_kept}), Fresh(0)));
}

TEST_F(FeatureCacheTest, AnImageHasAsManyTilesAsItsLayout) {
  images_[1].table = images_[0].table;  // a picture has one for all its tiles
  SampleImage tiled = images_[0];
  tiled.pixels.insert(tiled.pixels.end(), images_[1].pixels.begin(), images_[1].pixels.end());
  tiled.layout.tiles = 2;
  tiled.digest = Sha256Of("tiled");
  const at::Tensor pixels = PixelTensor({&images_[2], &tiled}, *model_);
  EXPECT_EQ(pixels.sizes(), (at::IntArrayRef{3, 3, 8, 8}));
  EXPECT_TRUE(at::equal(pixels, PixelTensor({&images_[2], &images_[0], &images_[1]}, *model_)));
  FeatureCache cache(*model_, 1 << 20);
  const at::Tensor features = cache.Get({&images_[2], &tiled, &images_[0]});
  EXPECT_EQ(features.sizes(), (at::IntArrayRef{4, 4, 16}));
  const at::Tensor alone = at::cat({Fresh(2), Fresh(0), Fresh(1), Fresh(0)});
  EXPECT_TRUE(at::allclose(features, alone, 1e-4, 1e-5));
  EXPECT_EQ(cache.bytes(), 4 * kBytesPerImage);
}

TEST_F(FeatureCacheTest, PixelsAreTheImagesInOrderInTheModelsDtype) {
  const auto model = toy::Model(at::kBFloat16);
  const at::Tensor pixels = PixelTensor({&images_[1], &images_[0]}, *model);
  EXPECT_EQ(pixels.scalar_type(), at::kBFloat16);
  EXPECT_EQ(pixels.sizes(), (at::IntArrayRef{2, 3, 8, 8}));
  const at::Tensor exact = PixelTensor({&images_[1], &images_[0]}, *model_);
  const auto value = [&](std::size_t image, std::size_t c, std::size_t place) {
    return (*images_[image].table)[c][images_[image].pixels[64 * c + place]];
  };
  EXPECT_EQ(exact[0][1][2][3].item<float>(), value(1, 1, 2 * 8 + 3));
  EXPECT_EQ(exact[1][2][7][7].item<float>(), value(0, 2, 63));
  EXPECT_TRUE(at::equal(pixels, exact.to(at::kBFloat16)));
}

}  // namespace
}  // namespace llava::training
