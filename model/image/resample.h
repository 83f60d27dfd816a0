// Pillow's antialiased resampling, bit for bit, of only the part that is wanted.
//
// Pillow (Image.resize, 8 bits per channel) resizes in two passes, and rounds to bytes in between:
// columns first, or rows first where many more rows than columns go (since Pillow 13). A pass is a
// sum of source pixels times fixed-point weights of 22 fractional bits. The cubic has a = -0.5 and
// spans 4 source pixels, or 4 times the scale when it shrinks; the triangle spans 2.
#ifndef LLAVA_MODEL_IMAGE_RESAMPLE_H_
#define LLAVA_MODEL_IMAGE_RESAMPLE_H_

#include <array>
#include <cstdint>
#include <vector>

#include "model/image/image.h"

namespace llava::model {

enum class ResampleFilter { kBilinear = 2, kBicubic = 3 };  // PIL.Image.Resampling

// A canvas of one colour with an image on it, along one axis; it is resized to `resized` pixels,
// of which [first, first + count) are wanted. The image lies within the canvas, the window within
// the resized canvas.
struct ResampleAxis {
  std::int64_t canvas = 0;
  std::int64_t offset = 0;  // of the image on the canvas
  std::int64_t image = 0;   // pixels
  std::int64_t resized = 0;
  std::int64_t first = 0;
  std::int64_t count = 0;
};

// The window of `horizontal.count` x `vertical.count` pixels of the resized canvas.
RgbImage Resample(const RgbImage& image, const std::array<std::uint8_t, 3>& canvas_colour,
                  const ResampleAxis& horizontal, const ResampleAxis& vertical,
                  ResampleFilter filter = ResampleFilter::kBicubic);

}  // namespace llava::model

#endif  // LLAVA_MODEL_IMAGE_RESAMPLE_H_
