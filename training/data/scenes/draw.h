// Draws a scene with OpenCV: varied backgrounds, noise, jitter, outlines and fonts.
#ifndef LLAVA_TRAINING_DATA_SCENES_DRAW_H_
#define LLAVA_TRAINING_DATA_SCENES_DRAW_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "training/data/scenes/scene.h"

namespace llava::training::scenes {

// Left, top, right, bottom as shares of the picture, [0, 1].
using Box = std::array<double, 4>;

// What lies under a patch: 0 nothing, 1 + shape, then the digits "0" to "9", then the letters.
inline constexpr int kDigitClass = 1 + static_cast<int>(kShapes.size());
inline constexpr int kLetterClass = kDigitClass + 10;
inline constexpr int kWhatClasses = kLetterClass + 26;
// Which colour: 0 none (background, printed text), 1 + colour.
inline constexpr int kColourClasses = 1 + static_cast<int>(kColours.size());

std::string WhatClassName(int what);

struct Picture {
  std::vector<std::uint8_t> bgr;  // [kPictureSize, kPictureSize, 3]
  std::vector<Box> boxes;         // one for each object, then one for the text if there is one
  // [kPictureSize, kPictureSize]: the classes above for each pixel.
  std::vector<std::uint8_t> what;
  std::vector<std::uint8_t> colour;
};

// The same bytes for the same scene.
Picture Draw(const Scene& scene);

// One label a patch of `patch` x `patch` pixels, row-major: what covers most of it if that is at
// least a sixth of the patch, else 0.
struct PatchLabels {
  std::vector<std::uint8_t> what;
  std::vector<std::uint8_t> colour;
};

// REQUIRES: kPictureSize is a multiple of `patch`.
PatchLabels LabelPatches(const Picture& picture, int patch);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_DRAW_H_
