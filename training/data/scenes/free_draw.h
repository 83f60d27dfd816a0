// Draws a free scene in one of many manners: sizes and shapes of the picture, grounds that are
// plain, graded, patterned or as uneven as a photograph, colours as wide as their names, smooth and
// jagged edges, stretched and slanted letters; what a model must not care about.
#ifndef LLAVA_TRAINING_DATA_SCENES_FREE_DRAW_H_
#define LLAVA_TRAINING_DATA_SCENES_FREE_DRAW_H_

#include "training/data/scenes/draw.h"
#include "training/data/scenes/scene.h"

namespace llava::training::scenes {

// The same bytes for the same scene. REQUIRES: scene.is_free.
Picture DrawFree(const Scene& scene);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_FREE_DRAW_H_
