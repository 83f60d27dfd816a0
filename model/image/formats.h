// One pair of functions a format: read the header (bounds-checked, nothing decoded), and decode a
// image whose header has been read and whose size was found acceptable. See model/image/image.h.
#ifndef LLAVA_MODEL_IMAGE_FORMATS_H_
#define LLAVA_MODEL_IMAGE_FORMATS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "model/image/image.h"

namespace llava::model {

inline constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);

// The time that decoding an image may take. Not thread-safe.
class DecodeBudget {
 public:
  explicit DecodeBudget(Duration max_cpu_time) : end_(ThreadCpuTime() + max_cpu_time) {}

  // Cheap enough for each row.
  bool IsSpent() const { return ThreadCpuTime() > end_; }

 private:
  Duration end_;
};
// What an image says whose budget is spent.
inline constexpr char kTooSlow[] = "it takes too long to decode";

// What the bytes seem to be when they are none of the five: "a TIFF image", "text", "no bytes".
std::string NameForeignFormat(std::string_view bytes);

// INVALID_ARGUMENT "a JPEG image: <what>".
absl::Status ImageError(ImageFormat format, std::string_view what);

absl::StatusOr<ImageHeader> ProbeJpeg(std::string_view bytes);
absl::StatusOr<ImageHeader> ProbePng(std::string_view bytes);
absl::StatusOr<ImageHeader> ProbeWebp(std::string_view bytes);
absl::StatusOr<ImageHeader> ProbeGif(std::string_view bytes);
absl::StatusOr<ImageHeader> ProbeBmp(std::string_view bytes);

// The stored image, before its orientation is applied. `header` is what the probe returned.
absl::StatusOr<RgbImage> DecodeJpeg(std::string_view bytes, const ImageHeader& header,
                                    const DecodeBudget& budget);
absl::StatusOr<RgbImage> DecodePng(std::string_view bytes, const ImageHeader& header,
                                   const DecodeBudget& budget);
absl::StatusOr<RgbImage> DecodeWebp(std::string_view bytes, const ImageHeader& header,
                                    const DecodeBudget& budget);
absl::StatusOr<RgbImage> DecodeGif(std::string_view bytes, const ImageHeader& header,
                                   const DecodeBudget& budget);
absl::StatusOr<RgbImage> DecodeBmp(std::string_view bytes, const ImageHeader& header,
                                   const DecodeBudget& budget);

}  // namespace llava::model

#endif  // LLAVA_MODEL_IMAGE_FORMATS_H_
