#include "model/config/image_layout.h"

#include "base/check.h"

namespace llava::model {

ImageLayout LayoutOf(const LlavaConfig& config, const ImageSize& size) {
  LLAVA_CHECK(size.width > 0 && size.height > 0);
  return {.tiles = 1, .tokens = config.tile_tokens()};
}

}  // namespace llava::model
