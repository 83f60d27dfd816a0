#include "training/data/scenes/free_scene.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "gtest/gtest.h"
#include "tests/unit/training/data/scenes/each_scene.h"

namespace llava::training::scenes {
namespace {

TEST(FreeSceneTest, KeepsItsPromises) {
  ForEachFreeScene(500, [](const Scene& scene) {
    EXPECT_TRUE(scene.is_free);
    EXPECT_FALSE(scene.objects.empty() && !scene.text);
    EXPECT_GT(scene.aspect, 0.5);
    EXPECT_LT(scene.aspect, 2.0);
    for (const Object& object : scene.objects) {
      const bool big = object.size == 1;
      EXPECT_GE(object.extent, big ? 0.23 : 0.1);
      EXPECT_LE(object.extent, big ? 0.66 : 0.19);
      EXPECT_EQ(static_cast<int>(object.x * 3), object.column());
      EXPECT_EQ(static_cast<int>(object.y * 3), object.row());
      for (const double share : {object.x, object.y}) {
        EXPECT_GE(std::abs(share - 1.0 / 3), 0.03);
        EXPECT_GE(std::abs(share - 2.0 / 3), 0.03);
      }
    }
    EXPECT_TRUE(std::is_sorted(scene.objects.begin(), scene.objects.end(),
                               [](const Object& a, const Object& b) { return a.cell < b.cell; }));
  });
}

TEST(FreeSceneTest, ThingsOverlapLightlyAtMost) {
  ForEachFreeScene(300, [](const Scene& scene) {
    const double width = std::max(1.0, scene.aspect);
    const double height = std::max(1.0, 1 / scene.aspect);
    for (std::size_t i = 0; i < scene.objects.size(); ++i) {
      for (std::size_t k = 0; k < i; ++k) {
        const Object& a = scene.objects[i];
        const Object& b = scene.objects[k];
        const double apart = std::max(std::abs(a.x - b.x) * width, std::abs(a.y - b.y) * height);
        EXPECT_GE(apart, 0.89 * (a.extent + b.extent) / 2) << scene.Signature();
      }
    }
  });
}

TEST(FreeSceneTest, APictureWithoutColoursHasGreyThingsOnly) {
  int grey = 0, coloured = 0;
  ForEachFreeScene(500, [&](const Scene& scene) {
    std::set<bool> kinds;
    for (const Object& object : scene.objects) kinds.insert(object.colour == kGrey);
    EXPECT_LE(kinds.size(), 1u);
    if (!kinds.empty()) (*kinds.begin() ? grey : coloured) += 1;
  });
  EXPECT_GT(grey, 40);
  EXPECT_GT(coloured, 500);
}

TEST(FreeSceneTest, EveryThirdSceneOfAMixedLevelStandsInCells) {
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(MakeScene(kSeed, Split::kTrain, Level::kMixed, i).is_free, i % 3 != 0);
    EXPECT_EQ(MakeScene(kSeed, Split::kHeldOut, Level::kMixedCrowded, i).is_free, i % 3 != 0);
  }
}

}  // namespace
}  // namespace llava::training::scenes
