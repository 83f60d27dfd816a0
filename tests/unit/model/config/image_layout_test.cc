#include "model/config/image_layout.h"

#include "gtest/gtest.h"

namespace llava::model {
namespace {

TEST(ImageLayoutTest, EveryImageOfLlava15IsOneTile) {
  LlavaConfig config;
  config.vision.image_size = 336;
  config.vision.patch_size = 14;
  for (const ImageSize size : {ImageSize{336, 336}, {1, 1}, {65535, 1}, {1024, 768}}) {
    EXPECT_EQ(LayoutOf(config, size), (ImageLayout{.tiles = 1, .tokens = 576}));
  }
  config.select = SelectStrategy::kKeepClassToken;
  EXPECT_EQ(LayoutOf(config, {640, 480}), (ImageLayout{.tiles = 1, .tokens = 577}));
}

}  // namespace
}  // namespace llava::model
