#include "training/data/scenes/patch_labels.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/training/data/scenes/each_scene.h"
#include "training/data/scenes/draw.h"

namespace llava::training::scenes {
namespace {

TEST(PatchLabelsTest, PatchLabelsNameWhatLiesUnderThem) {
  Scene scene;
  scene.objects = {InCell(0, 1, 1, 4)};
  scene.text = Text{"7", 0};
  const std::vector<LabelPlane> planes = PatchPlanes();
  for (const int patch : {16, 32}) {
    const std::vector<std::uint8_t> labels = LabelPatches(Draw(scene), patch);
    const auto side = static_cast<std::size_t>(kPictureSize / patch);
    ASSERT_EQ(labels.size(), planes.size() * side * side);
    const auto at = [&](std::size_t plane, std::size_t row, std::size_t column) {
      return planes[plane].classes[labels[(plane * side + row) * side + column]];
    };
    EXPECT_EQ(at(0, side / 2, side / 2), "square");
    EXPECT_EQ(at(1, side / 2, side / 2), "red");
    EXPECT_EQ(at(2, side / 2, side / 2), "big");
    EXPECT_EQ(at(4, side / 2, side / 2), "middle");
    EXPECT_EQ(at(0, 0, 0), "digit 7");
    EXPECT_EQ(at(1, 0, 0), "nothing");
    EXPECT_EQ(at(0, side - 1, side - 1), "nothing");
    EXPECT_EQ(at(4, side - 1, 0), "bottom left");
    // Each thing has its middle in one patch, and the ground has none.
    std::size_t middles = 0;
    for (std::size_t i = 0; i < side * side; ++i) middles += labels[3 * side * side + i];
    EXPECT_EQ(middles, 2u);
    EXPECT_EQ(at(3, side - 1, side - 1), "nothing");
  }
}

// Small ones too, in a patch as large as their cell.
TEST(PatchLabelsTest, APatchOfACellNamesWhateverStandsThere) {
  for (int i = 0; i < 200; ++i) {
    const Scene scene = MakeScene(kSeed, Split::kTrain, Level::kCrowded, i);
    EXPECT_TRUE(scene.text.has_value());
    const std::vector<std::uint8_t> labels = LabelPatches(Draw(scene), kCell);
    for (const Object& object : scene.objects) {
      const auto cell = static_cast<std::size_t>(object.cell);
      EXPECT_EQ(labels[cell], 1 + object.shape) << scene.Signature();
      EXPECT_EQ(labels[kCells + cell], 1 + object.colour) << scene.Signature();
      EXPECT_EQ(labels[2 * kCells + cell], 1 + object.size) << scene.Signature();
    }
    const auto text = static_cast<std::size_t>(scene.text->cell);
    EXPECT_EQ(PatchPlanes()[0].classes[labels[text]], scene.text->Name());
  }
}

TEST(PatchLabelsTest, OfAFreeSceneEveryMiddleIsInAPatchOfItsThing) {
  int seen = 0;
  for (int i = 0; i < 200; ++i) {
    const Scene scene = MakeScene(kSeed, Split::kTrain, Level::kFree, i);
    if (scene.objects.size() != 1 || scene.text) continue;
    const std::vector<std::uint8_t> labels = LabelPatches(Draw(scene), 16);
    for (std::size_t patch = 0; patch < 36; ++patch) {
      if (labels[3 * 36 + patch] == 0) continue;
      ++seen;
      EXPECT_EQ(labels[4 * 36 + patch], scene.objects[0].cell) << scene.Signature();
      EXPECT_EQ(labels[36 + patch], 1 + scene.objects[0].colour) << scene.Signature();
    }
  }
  EXPECT_GT(seen, 30);
}

}  // namespace
}  // namespace llava::training::scenes
