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

// A picture is read as a whole in one tile. Where the configuration has tiles, it is read once more
// in its own resolution: resized to fit a canvas of grid.height x grid.width tiles, centred on it,
// the rest of the canvas black; of the features of all those tiles, the rows and columns that show
// the picture are kept, reduced where they are many, and each row ends with one feature more, the
// same for all of them (transformers, models/{llava_next,llava_onevision}).
struct ImageLayout {
  int tiles = 0;         // squares of vision.image_size pixels that the vision tower reads
  int tokens = 0;        // of the prompt; as many rows of projected features stand in their places
  Resolution grid = {};  // tiles of the canvas; 0 x 0: the picture is read as a whole only
  Resolution resized = {};  // pixels of the picture on the canvas
  Resolution margin = {};   // rows and columns of features left out at each side of the canvas
  Resolution kept = {};     // what is kept of them
  Resolution reduced = {};  // what `kept` is resized to; the same where it is not
  bool row_ends = false;    // a whole picture's features end with one more, as if they were one row

  friend bool operator==(const ImageLayout&, const ImageLayout&) = default;
};

// The layout of one of `images` images of a prompt. LLaVA-1.5 resizes every image to one tile,
// whatever its size; OneVision too where a prompt has several. REQUIRES: positive sizes.
ImageLayout LayoutOf(const LlavaConfig& config, const ImageSize& size, int images = 1);

// The same of an image that has `tiles` by LayoutOf, which tells whether it was alone.
ImageLayout LayoutOfTiles(const LlavaConfig& config, const ImageSize& size, int tiles);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_IMAGE_LAYOUT_H_
