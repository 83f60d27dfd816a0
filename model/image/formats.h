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

// What an image says whose budget is spent.
inline constexpr char kTooSlow[] = "it takes too long to decode";

// How long decoding an image may go on. Of the thread that makes it. REQUIRES: outlives no
// `limits`.
class DecodeBudget {
 public:
  explicit DecodeBudget(const ImageLimits& limits) : limits_(limits), begin_(ThreadCpuTime()) {}

  // Whether it has to end now, and then for ever. Cheap enough for each row; throws nothing and
  // leaves nothing to destroy, for libraries that are left by longjmp.
  bool IsSpent();

  bool was_spent() const { return spent_; }  // the last time that it was asked

  // Why. REQUIRES: was_spent().
  absl::Status Error(ImageFormat format) const;

 private:
  const ImageLimits& limits_;
  const Duration begin_;
  bool spent_ = false;
  Duration took_{};
  absl::Status stopped_;
};

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
                                    DecodeBudget& budget);
absl::StatusOr<RgbImage> DecodePng(std::string_view bytes, const ImageHeader& header,
                                   DecodeBudget& budget);
absl::StatusOr<RgbImage> DecodeWebp(std::string_view bytes, const ImageHeader& header,
                                    DecodeBudget& budget);
absl::StatusOr<RgbImage> DecodeGif(std::string_view bytes, const ImageHeader& header,
                                   DecodeBudget& budget);
absl::StatusOr<RgbImage> DecodeBmp(std::string_view bytes, const ImageHeader& header,
                                   DecodeBudget& budget);

}  // namespace llava::model

#endif  // LLAVA_MODEL_IMAGE_FORMATS_H_
