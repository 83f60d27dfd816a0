#include "model/network/vision_tower.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "model/network/weights.h"
#include "tests/support/checkpoint_fixture.h"

namespace llava::model {
namespace {

using testing::ElementsAre;

// Towers of the golden checkpoint with 4 blocks, 4 x 4 patches and width 64.
class VisionTowerTest : public testing::Test {
 protected:
  VisionTowerTest()
      : config_(*ReadConfig(GoldenCheckpointDir())),
        checkpoint_(*Checkpoint::Open(GoldenCheckpointDir())) {
    at::manual_seed(2);
    pixels_ = at::randn({3, 3, config_.vision.image_size, config_.vision.image_size});
  }

  VisionTower Tower() {
    CheckpointWeights source(checkpoint_, {});
    VisionTower tower(config_, source);
    EXPECT_TRUE(source.status().ok()) << source.status();
    return tower;
  }

  LlavaConfig config_;
  Checkpoint checkpoint_;
  at::Tensor pixels_;
};

TEST_F(VisionTowerTest, FeaturesHaveTheTokensOfATile) {
  EXPECT_EQ(Tower().Forward(pixels_).sizes().vec(),
            (std::vector<std::int64_t>{3, config_.tile_tokens(), 64}));
  config_.select = SelectStrategy::kKeepClassToken;
  EXPECT_EQ(Tower().Forward(pixels_).sizes().vec(),
            (std::vector<std::int64_t>{3, config_.tile_tokens(), 64}));
  EXPECT_EQ(config_.tile_tokens(), 17);
}

TEST_F(VisionTowerTest, ATileDoesNotDependOnItsBatch) {
  const VisionTower tower = Tower();
  const at::Tensor together = tower.Forward(pixels_);
  for (std::int64_t i = 0; i < 3; ++i) {
    const at::Tensor alone = tower.Forward(pixels_.narrow(0, i, 1));
    EXPECT_TRUE(at::allclose(alone[0], together[i], 1e-4, 1e-5));
  }
}

TEST_F(VisionTowerTest, SeveralLayersStandSideBySide) {
  config_.feature_layers = {-1};
  const at::Tensor last = Tower().Forward(pixels_);
  config_.feature_layers = {1};
  const at::Tensor first = Tower().Forward(pixels_);
  config_.feature_layers = {1, -1, 1};
  EXPECT_TRUE(at::equal(Tower().Forward(pixels_), at::cat({first, last, first}, -1)));
}

TEST_F(VisionTowerTest, LayerZeroIsWhatTheFirstBlockReads) {
  config_.feature_layers = {0};
  config_.select = SelectStrategy::kKeepClassToken;
  const VisionTower tower = Tower();
  EXPECT_TRUE(at::equal(tower.Forward(pixels_), tower.Embed(pixels_)));
}

TEST_F(VisionTowerTest, BlocksAfterTheLastSelectedLayerAreDormant) {
  config_.feature_layers = {1, -3};
  EXPECT_THAT(Tower().DormantPrefixes(),
              ElementsAre("vision_tower.vision_model.post_layernorm.",
                          "vision_tower.vision_model.encoder.layers.2.",
                          "vision_tower.vision_model.encoder.layers.3."));
}

}  // namespace
}  // namespace llava::model
