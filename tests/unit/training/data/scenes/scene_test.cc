#include "training/data/scenes/scene.h"

#include <algorithm>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "tests/unit/training/data/scenes/each_scene.h"
#include "training/data/scenes/draw.h"

namespace llava::training::scenes {
namespace {

TEST(SceneTest, KeepsItsPromises) {
  ForEachScene(300, [](const Scene& scene) {
    std::set<int> cells;
    std::set<std::string> names;
    for (const Object& object : scene.objects) {
      EXPECT_TRUE(cells.insert(object.cell).second) << scene.Signature();
      EXPECT_TRUE(names.insert(object.Name()).second) << scene.Signature();
    }
    if (scene.text) {
      const int row = scene.text->cell / 3 * 3;
      for (int cell = row; cell < row + 3; ++cell) {
        if (!scene.text->is_digit() || cell == scene.text->cell) {
          EXPECT_EQ(cells.count(cell), 0u);
        }
      }
    }
    EXPECT_FALSE(scene.objects.empty() && !scene.text);
    EXPECT_TRUE(std::is_sorted(scene.objects.begin(), scene.objects.end(),
                               [](const Object& a, const Object& b) { return a.cell < b.cell; }));
  });
}

TEST(SceneTest, IsAFunctionOfSeedSplitLevelAndIndex) {
  const Scene scene = MakeScene(1, Split::kTrain, Level::kFull, 7);
  EXPECT_EQ(scene.Signature(), MakeScene(1, Split::kTrain, Level::kFull, 7).Signature());
  EXPECT_EQ(scene.style_seed, MakeScene(1, Split::kTrain, Level::kFull, 7).style_seed);
  EXPECT_NE(scene.style_seed, MakeScene(2, Split::kTrain, Level::kFull, 7).style_seed);
  EXPECT_NE(scene.style_seed, MakeScene(1, Split::kTrain, Level::kFull, 8).style_seed);
  EXPECT_NE(scene.style_seed, MakeScene(1, Split::kTrain, Level::kCrowded, 7).style_seed);
  EXPECT_EQ(Draw(scene).bgr, Draw(scene).bgr);
}

TEST(SceneTest, NoHeldOutSceneIsEverTrainedOn) {
  for (int i = 0; i < 300; ++i) {
    EXPECT_FALSE(IsHeldOut(MakeScene(5, Split::kTrain, Level::kFull, i)));
    EXPECT_TRUE(IsHeldOut(MakeScene(5, Split::kHeldOut, Level::kOne, i)));
  }
}

}  // namespace
}  // namespace llava::training::scenes
