// How one image becomes tokens of a prompt: what the tokenizer's side, the executor and training
// must agree on before anything is decoded.
#ifndef LLAVA_MODEL_CONFIG_IMAGE_LAYOUT_H_
#define LLAVA_MODEL_CONFIG_IMAGE_LAYOUT_H_

#include "model/config/config.h"

namespace llava::model {

// Pixels of an upright image, as the header of its file says (ImageHeader::upright_size).
struct ImageSize {
  int width = 0;
  int height = 0;

  friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

struct ImageLayout {
  int tiles = 0;   // squares of vision.image_size pixels that the vision tower reads
  int tokens = 0;  // of the prompt; as many rows of projected features stand in their places

  friend bool operator==(const ImageLayout&, const ImageLayout&) = default;
};

// The layout of one image. LLaVA-1.5 resizes every image to one tile, whatever its size.
ImageLayout LayoutOf(const LlavaConfig& config, const ImageSize& size);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_IMAGE_LAYOUT_H_
