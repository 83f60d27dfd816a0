// Images: from the bytes of a file to RGB, with every limit checked before anything is decoded.
//
//   ASSIGN_OR_RETURN(const ImageHeader header, ProbeImage(bytes));       // cheap: for admission
//   ASSIGN_OR_RETURN(const RgbImage image, DecodeImage(bytes, limits));  // on the prepare pool
//
// JPEG, PNG, WebP, GIF and BMP. The result is what Pillow's
// ImageOps.exif_transpose(image).convert("RGB") gives: the first frame of an animation; alpha is
// dropped, not blended; 16-bit colour keeps its high byte; 16-bit grey is clipped at 255 (that is
// what Pillow does with its mode I;16); CMYK is read by Adobe's inverted convention. JPEG is
// decoded by libjpeg, PNG by libpng, GIF by giflib, WebP by libwebp piece by piece; BMP, which has
// no library of its own, by bmp.cc. OpenCV's imgcodecs would decode a truncated JPEG without an
// error and bring GDAL into every program.
//
// What decoding costs is bounded by the image's pixels and its file's bytes, whatever the file
// asks for: scans of a JPEG count with their pixels, data after the last row is not inflated, and
// ImageLimits::max_cpu_time ends what is slow all the same. ImageLimits::stop ends what nobody
// waits for any more.
//
// All functions are pure and may run on any thread.
#ifndef LLAVA_MODEL_IMAGE_IMAGE_H_
#define LLAVA_MODEL_IMAGE_IMAGE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "model/config/image_layout.h"

namespace llava::model {

enum class ImageFormat { kJpeg, kPng, kWebp, kGif, kBmp };

std::string_view ImageFormatName(ImageFormat format);  // "JPEG", "PNG", "WebP", "GIF", "BMP"

struct ImageHeader {
  ImageFormat format = ImageFormat::kJpeg;
  int width = 0;  // as stored, before `orientation`; in pixels, always > 0
  int height = 0;
  int channels = 0;  // as stored: 1 grey or palette, 2 grey+alpha, 3 colour, 4 alpha or CMYK
  int bits_per_channel = 8;  // 16 for 16-bit PNG, fewer for small palettes
  int orientation = 1;       // EXIF tag 0x0112, 1 to 8

  std::int64_t pixels() const { return std::int64_t{width} * height; }
  // Of the image as DecodeImage returns it: orientations from 5 on lie on their side.
  ImageSize upright_size() const {
    return orientation < 5 ? ImageSize{width, height} : ImageSize{height, width};
  }
  bool operator==(const ImageHeader&) const = default;
};

// Wider or higher images are refused whatever the limits (it is what a JPEG can hold): resizing a
// line of millions of pixels costs more memory than its few bytes deserve.
inline constexpr int kMaxImageSide = 65535;

struct ImageLimits {
  std::size_t max_bytes = std::size_t{32} << 20;  // of the encoded file
  std::int64_t max_pixels = 50'000'000;           // width * height
  // Of the decoding thread; looked at between rows, and between pieces of the file.
  Duration max_cpu_time = std::chrono::seconds(5);
  // Looked at as often: an error ends the decoding, and is what DecodeImage returns. Empty: none.
  std::function<absl::Status()> stop = {};
};

// Interleaved RGB, rows from the top, no padding: pixels.size() == 3 * width * height.
struct RgbImage {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;
};

// Reads the header and the metadata alone: nothing is inflated or decoded, whatever the file
// claims. INVALID_ARGUMENT names the format when it is not one of the five, or what is wrong with
// the header.
absl::StatusOr<ImageHeader> ProbeImage(std::string_view bytes);

// INVALID_ARGUMENT with the value and the limit when the file or the image is too large.
absl::Status CheckImageLimits(std::size_t file_bytes, const ImageHeader& header,
                              const ImageLimits& limits);

// Probes, checks the limits, decodes, applies the orientation. INVALID_ARGUMENT when the image is
// of another format, too large, truncated or corrupt, takes too long, or when it is not what its
// header says; or the error of `limits.stop`.
absl::StatusOr<RgbImage> DecodeImage(std::string_view bytes, const ImageLimits& limits = {});

}  // namespace llava::model

#endif  // LLAVA_MODEL_IMAGE_IMAGE_H_
