// Layouts of images for tests that have no files of them.
#ifndef LLAVA_TESTS_SUPPORT_LAYOUTS_H_
#define LLAVA_TESTS_SUPPORT_LAYOUTS_H_

#include <cstddef>
#include <vector>

#include "model/config/image_layout.h"

namespace llava::model {

// Of `count` images of the vision tower's own size.
inline std::vector<ImageLayout> Layouts(const LlavaConfig& config, std::size_t count) {
  const int side = config.vision.image_size;
  return std::vector<ImageLayout>(count, LayoutOf(config, {side, side}));
}

}  // namespace llava::model

#endif  // LLAVA_TESTS_SUPPORT_LAYOUTS_H_
