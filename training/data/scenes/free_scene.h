// Scenes whose things stand anywhere and have any extent, in pictures of any shape.
#ifndef LLAVA_TRAINING_DATA_SCENES_FREE_SCENE_H_
#define LLAVA_TRAINING_DATA_SCENES_FREE_SCENE_H_

#include "base/rng.h"
#include "training/data/scenes/scene.h"

namespace llava::training::scenes {

// One to three objects and often a text; crowded: up to seven objects, as many as fit. Small
// objects measure 0.1 to 0.19 of the shorter side, big ones 0.23 to 0.66. The seed of the style is
// drawn last.
Scene ComposeFree(Rng& rng, bool crowded);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_FREE_SCENE_H_
