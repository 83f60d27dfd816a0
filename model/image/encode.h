// From pixels to the bytes of a file, for pictures that programs draw themselves.
//
// All functions are pure and may run on any thread.
#ifndef LLAVA_MODEL_IMAGE_ENCODE_H_
#define LLAVA_MODEL_IMAGE_ENCODE_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/image/image.h"

namespace llava::model {

// Baseline JPEG with halved chroma; `quality` of 1 to 100 is libjpeg's. The same bytes for the same
// pixels and the same libjpeg. INVALID_ARGUMENT: a side of 0 or above kMaxImageSide, a quality
// outside its range, or pixels that are not 3 * width * height.
absl::StatusOr<std::string> EncodeJpeg(const RgbImage& image, int quality);

// 8-bit colour without alpha. INVALID_ARGUMENT as above.
absl::StatusOr<std::string> EncodePng(const RgbImage& image);

}  // namespace llava::model

#endif  // LLAVA_MODEL_IMAGE_ENCODE_H_
