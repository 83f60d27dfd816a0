// cv::imdecode behind a Status.
#ifndef LLAVA_MODEL_IMAGE_OPENCV_H_
#define LLAVA_MODEL_IMAGE_OPENCV_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "model/image/image.h"

namespace llava::model {

enum class OpenCvPixels {
  kColour8,  // whatever is stored becomes 8-bit colour; alpha is dropped
  kGrey16,   // 16-bit grey, clipped at 255 as Pillow's I;16 is
};

// INVALID_ARGUMENT when OpenCV cannot decode the file, or finds an image of another size than
// `header` says.
absl::StatusOr<RgbImage> DecodeWithOpenCv(std::string_view file, const ImageHeader& header,
                                          OpenCvPixels pixels);

}  // namespace llava::model

#endif  // LLAVA_MODEL_IMAGE_OPENCV_H_
