#include "training/data/scenes/free_draw.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "gtest/gtest.h"
#include "tests/unit/training/data/scenes/each_scene.h"

namespace llava::training::scenes {
namespace {

TEST(FreeDrawTest, PicturesHaveTheirScenesShape) {
  std::set<int> widths;
  ForEachFreeScene(60, [&](const Scene& scene) {
    const Picture picture = Draw(scene);
    widths.insert(picture.width);
    EXPECT_GE(std::min(picture.width, picture.height), 72);
    EXPECT_NEAR(static_cast<double>(picture.width) / picture.height, scene.aspect, 0.03);
    EXPECT_EQ(picture.bgr.size(), static_cast<std::size_t>(picture.width) *
                                      static_cast<std::size_t>(picture.height) * 3);
    EXPECT_EQ(picture.boxes.size(), scene.objects.size() + (scene.text ? 1 : 0));
    EXPECT_EQ(picture.what.size(), static_cast<std::size_t>(kPictureSize * kPictureSize));
    EXPECT_EQ(picture.bgr, Draw(scene).bgr);
  });
  EXPECT_GT(widths.size(), 30u);
}

// The pixel under the middle of a thing that nothing covers.
struct Pixel {
  int blue, green, red;
};

Pixel PixelAt(const Picture& picture, double x, double y) {
  const auto column = static_cast<std::size_t>(x * picture.width);
  const auto row = static_cast<std::size_t>(y * picture.height);
  const std::size_t at = (row * static_cast<std::size_t>(picture.width) + column) * 3;
  return {picture.bgr[at], picture.bgr[at + 1], picture.bgr[at + 2]};
}

bool MayBe(std::string_view name, const Pixel& pixel) {
  if (name == "red") return pixel.red > std::max(pixel.green, pixel.blue);
  if (name == "green") return pixel.green > std::max(pixel.red, pixel.blue);
  if (name == "blue") return pixel.blue > std::max(pixel.red, pixel.green);
  if (name == "yellow") return std::min(pixel.red, pixel.green) > pixel.blue;
  if (name == "purple") return std::min(pixel.red, pixel.blue) > pixel.green;
  return std::abs(pixel.red - pixel.blue) < 60;  // grey, and the noise of cameras
}

// Which of the three channels is the highest says which colour a thing may have.
TEST(FreeDrawTest, ThingsHaveTheColoursThatTheirNamesSay) {
  int seen = 0;
  ForEachFreeScene(300, [&](const Scene& scene) {
    if (scene.text || scene.objects.size() != 1 || scene.objects[0].extent < 0.15) return;
    const Object& object = scene.objects[0];
    const Picture picture = Draw(scene);
    const Pixel pixel = PixelAt(picture, object.x, object.y);
    const auto label = static_cast<std::size_t>(object.y * kPictureSize) * kPictureSize +
                       static_cast<std::size_t>(object.x * kPictureSize);
    EXPECT_EQ(picture.what[label], 1 + object.shape) << scene.Signature();
    EXPECT_EQ(picture.colour[label], 1 + object.colour) << scene.Signature();
    EXPECT_EQ(picture.size[label], 1 + object.size) << scene.Signature();
    const auto name = kColours[static_cast<std::size_t>(object.colour)];
    EXPECT_TRUE(MayBe(name, pixel))
        << scene.Signature() << ", " << pixel.blue << " " << pixel.green << " " << pixel.red;
    ++seen;
  });
  EXPECT_GT(seen, 40);
}

// Without noise and blur a thing is seen: the picture is not of one colour.
TEST(FreeDrawTest, WhatIsThereIsSeen) {
  ForEachFreeScene(100, [](const Scene& scene) {
    const Picture picture = Draw(scene);
    const auto [low, high] = std::minmax_element(picture.bgr.begin(), picture.bgr.end());
    EXPECT_GT(*high - *low, 40) << scene.Signature();
  });
}

}  // namespace
}  // namespace llava::training::scenes
