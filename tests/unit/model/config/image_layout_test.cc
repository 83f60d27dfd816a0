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

LlavaConfig Next() {
  LlavaConfig config;
  config.architecture = Architecture::kLlavaNext;
  config.vision.image_size = 336;
  config.vision.patch_size = 14;
  config.anyres.pinpoints = {{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}};
  return config;
}

LlavaConfig Onevision() {
  LlavaConfig config;
  config.architecture = Architecture::kOnevision;
  config.select = SelectStrategy::kKeepClassToken;
  config.vision.tower = VisionConfig::Tower::kSiglip;
  config.vision.image_size = 384;
  config.vision.patch_size = 14;
  config.anyres.max_tiles = 9;
  for (int h = 1; h <= 6; ++h) {
    for (int w = 1; w <= 6; ++w) config.anyres.pinpoints.push_back({384 * h, 384 * w});
  }
  return config;
}

// The numbers are those of LlavaNextProcessor for llava-hf/llava-v1.6-mistral-7b-hf.
TEST(ImageLayoutTest, Llava16ReadsAPictureInItsOwnShape) {
  const LlavaConfig config = Next();
  const ImageLayout wide = LayoutOf(config, {1024, 768});
  EXPECT_EQ(wide.tiles, 5);
  EXPECT_EQ(wide.grid, (Resolution{2, 2}));
  EXPECT_EQ(wide.resized, (Resolution{504, 672}));
  EXPECT_EQ(wide.margin, (Resolution{6, 0}));
  EXPECT_EQ(wide.kept, (Resolution{36, 48}));
  EXPECT_EQ(wide.tokens, 576 + 36 * 49);
  const ImageLayout tall = LayoutOf(config, {768, 1024});
  EXPECT_EQ(tall.kept, (Resolution{48, 36}));
  EXPECT_EQ(tall.tokens, 576 + 48 * 37);
  const ImageLayout panorama = LayoutOf(config, {3000, 400});
  EXPECT_EQ(panorama.grid, (Resolution{1, 3}));
  EXPECT_EQ(panorama.tiles, 4);
}

TEST(ImageLayoutTest, ALineOfPixelsMayLeaveNothingOfItsTiles) {
  const ImageLayout line = LayoutOf(Next(), {5000, 1});
  EXPECT_EQ(line.kept.height, 0);
  EXPECT_EQ(line.tokens, 576);
  const ImageLayout upright = LayoutOf(Next(), {1, 5000});
  EXPECT_EQ(upright.kept.width, 0);
  EXPECT_EQ(upright.tokens, 576 + upright.kept.height);  // the ends of the rows
}

TEST(ImageLayoutTest, OnevisionReducesManyTiles) {
  const LlavaConfig config = Onevision();
  const ImageLayout large = LayoutOf(config, {2304, 2304});
  EXPECT_EQ(large.tiles, 37);
  EXPECT_EQ(large.kept, (Resolution{162, 162}));
  EXPECT_EQ(large.reduced, (Resolution{81, 81}));
  EXPECT_EQ(large.tokens, 729 + 81 * 82);
  const ImageLayout uneven = LayoutOf(config, {1900, 1900});
  EXPECT_EQ(uneven.kept, (Resolution{135, 135}));
  EXPECT_EQ(uneven.reduced, (Resolution{80, 80})) << "as Python divides 135 by 1.6666666666666667";
  EXPECT_EQ(uneven.tokens, 7209);
  const ImageLayout small = LayoutOf(config, {384, 384});
  EXPECT_EQ(small.tiles, 2);
  EXPECT_EQ(small.reduced, small.kept);
  EXPECT_EQ(small.tokens, 729 + 27 * 28);
}

TEST(ImageLayoutTest, OnevisionReadsSeveralPicturesAsAWhole) {
  const ImageLayout one = LayoutOf(Onevision(), {2304, 2304}, 2);
  EXPECT_EQ(one, (ImageLayout{.tiles = 1, .tokens = 730, .row_ends = true}));
  EXPECT_EQ(LayoutOfTiles(Onevision(), {2304, 2304}, one.tiles), one);
  EXPECT_EQ(LayoutOfTiles(Onevision(), {2304, 2304}, 37), LayoutOf(Onevision(), {2304, 2304}));
  EXPECT_EQ(LayoutOf(Next(), {1024, 768}, 2), LayoutOf(Next(), {1024, 768}));
}

}  // namespace
}  // namespace llava::model
