// The scenes that every test here looks at.
#ifndef LLAVA_TESTS_UNIT_TRAINING_DATA_SCENES_EACH_SCENE_H_
#define LLAVA_TESTS_UNIT_TRAINING_DATA_SCENES_EACH_SCENE_H_

#include <cstdint>

#include "training/data/scenes/scene.h"

namespace llava::training::scenes {

inline constexpr std::uint64_t kSeed = 20261123;

// `count` scenes of each level in cells.
template <typename Visit>
void ForEachScene(int count, Visit visit) {
  for (const Level level : {Level::kOne, Level::kFew, Level::kFull, Level::kCrowded}) {
    for (int i = 0; i < count; ++i) visit(MakeScene(kSeed, Split::kTrain, level, i));
  }
}

// The same of those that are free.
template <typename Visit>
void ForEachFreeScene(int count, Visit visit) {
  for (const Level level : {Level::kFree, Level::kFreeCrowded}) {
    for (int i = 0; i < count; ++i) visit(MakeScene(kSeed, Split::kTrain, level, i));
  }
}

}  // namespace llava::training::scenes

#endif  // LLAVA_TESTS_UNIT_TRAINING_DATA_SCENES_EACH_SCENE_H_
