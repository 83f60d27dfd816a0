// Draws a scene with OpenCV: varied backgrounds, noise, jitter, outlines and fonts.
#ifndef LLAVA_TRAINING_DATA_SCENES_DRAW_H_
#define LLAVA_TRAINING_DATA_SCENES_DRAW_H_

#include <array>
#include <cstdint>
#include <vector>

#include "training/data/scenes/scene.h"

namespace llava::training::scenes {

// Left, top, right, bottom as shares of the picture, [0, 1].
using Box = std::array<double, 4>;

// What covers a pixel: 0 nothing, 1 + shape, then the digits "0" to "9", then the words.
inline constexpr int kDigitClass = 1 + static_cast<int>(kShapes.size());
inline constexpr int kWordClass = kDigitClass + 10;

struct Picture {
  int width = 0;  // pixels
  int height = 0;
  std::vector<std::uint8_t> bgr;  // [height, width, 3]
  std::vector<Box> boxes;         // one for each object, then one for the text if there is one
  std::vector<std::array<double, 2>> middles;  // of the same things: x and y in [0, 1]
  // [kPictureSize, kPictureSize], whatever the picture's shape, for each place: a class as above;
  // 1 + colour of a shape, else 0; 1 + size of a shape, else 0.
  std::vector<std::uint8_t> what;
  std::vector<std::uint8_t> colour;
  std::vector<std::uint8_t> size;
};

// The class of a digit or a word.
int WhatClass(const Text& text);

// The same bytes for the same scene.
Picture Draw(const Scene& scene);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_DRAW_H_
