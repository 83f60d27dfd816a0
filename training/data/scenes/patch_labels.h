// What lies under each patch of a drawn scene: what a vision tower is taught before it meets a
// decoder (training/data/dense_labels.h).
#ifndef LLAVA_TRAINING_DATA_SCENES_PATCH_LABELS_H_
#define LLAVA_TRAINING_DATA_SCENES_PATCH_LABELS_H_

#include <cstdint>
#include <vector>

#include "training/data/dense_labels.h"
#include "training/data/scenes/draw.h"

namespace llava::training::scenes {

// Of every picture, in this order: "what" (nothing, a shape, a digit, a word), "colour" and "size"
// (of the shape, or nothing), "middle" (whether that of a shape or a text lies here, so that each
// of them stands in one patch, however many it covers), "place" (of the patch itself).
std::vector<LabelPlane> PatchPlanes();

// [planes, rows, columns]: what covers most of a patch of `patch` x `patch` pixels if that is at
// least a twentieth of it (a small triangle in a patch as large as a cell), else nothing.
// REQUIRES: kPictureSize is a multiple of `patch`.
std::vector<std::uint8_t> LabelPatches(const Picture& picture, int patch);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_PATCH_LABELS_H_
