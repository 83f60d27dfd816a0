#include "training/data/scenes/draw.h"

#include <array>
#include <map>
#include <string_view>

#include "gtest/gtest.h"
#include "tests/unit/training/data/scenes/each_scene.h"

namespace llava::training::scenes {
namespace {

// The pixels say what the labels say: under an object's mask the picture has the object's colour.
TEST(DrawTest, LabelsAreTrueOfThePixels) {
  const std::map<std::string_view, std::array<int, 3>> rgb = {{"red", {215, 35, 35}},
                                                              {"green", {40, 165, 50}},
                                                              {"blue", {35, 85, 220}},
                                                              {"yellow", {240, 215, 30}},
                                                              {"purple", {140, 45, 165}}};
  ForEachScene(60, [&](const Scene& scene) {
    const Picture picture = Draw(scene);
    ASSERT_EQ(picture.boxes.size(), scene.objects.size() + (scene.text ? 1 : 0));
    for (std::size_t i = 0; i < scene.objects.size(); ++i) {
      const Object& object = scene.objects[i];
      const Box& box = picture.boxes[i];
      EXPECT_EQ(static_cast<int>((box[0] + box[2]) / 2 * 3), object.column());
      EXPECT_EQ(static_cast<int>((box[1] + box[3]) / 2 * 3), object.row());
      const auto x = static_cast<std::size_t>((box[0] + box[2]) / 2 * kPictureSize);
      const auto y = static_cast<std::size_t>((box[1] + box[3]) / 2 * kPictureSize);
      const std::size_t at = y * kPictureSize + x;
      EXPECT_EQ(picture.what[at], 1 + object.shape);
      EXPECT_EQ(picture.colour[at], 1 + object.colour);
      const auto& expected = rgb.at(kColours[static_cast<std::size_t>(object.colour)]);
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_NEAR(picture.bgr[at * 3 + 2 - c], expected[c], 80) << scene.Signature();
      }
    }
  });
}

}  // namespace
}  // namespace llava::training::scenes
