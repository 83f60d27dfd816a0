// Where an image stands in a prompt. The one definition that prompts, training samples and the
// model share.
#ifndef LLAVA_BASE_IMAGE_SPAN_H_
#define LLAVA_BASE_IMAGE_SPAN_H_

#include <cstdint>

namespace llava {

// The tokens [offset, offset + count) stand for the first `count` feature rows of image `image`:
// for all of them, but where truncation of a training sample cut through the image.
struct ImageSpan {
  std::int32_t offset = 0;
  std::int32_t count = 0;
  std::int32_t image = 0;

  friend bool operator==(const ImageSpan&, const ImageSpan&) = default;
};

}  // namespace llava

#endif  // LLAVA_BASE_IMAGE_SPAN_H_
