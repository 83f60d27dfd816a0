#include "model/image/opencv.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/image/formats.h"

namespace llava::model {
namespace {

void FromBgr(const std::uint8_t* bgr, int width, std::uint8_t* rgb) {
  for (int x = 0; x < width; ++x) {
    rgb[3 * x] = bgr[3 * x + 2];
    rgb[3 * x + 1] = bgr[3 * x + 1];
    rgb[3 * x + 2] = bgr[3 * x];
  }
}

void FromGrey16(const std::uint16_t* grey, int width, std::uint8_t* rgb) {
  for (int x = 0; x < width; ++x) {
    rgb[3 * x] = rgb[3 * x + 1] = rgb[3 * x + 2] =
        static_cast<std::uint8_t>(std::min<std::uint16_t>(grey[x], 255));
  }
}

absl::StatusOr<cv::Mat> Decode(std::string_view file, const ImageHeader& header, int flags) {
  if (file.size() > std::size_t{std::numeric_limits<int>::max()}) {
    return ImageError(header.format, "its file has more than 2 GiB");
  }
  static const auto level_before =
      cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);  // once
  (void)level_before;
  try {
    // OpenCV only reads from it, but has no type for that.
    const cv::Mat encoded(1, static_cast<int>(file.size()), CV_8UC1,
                          const_cast<char*>(file.data()));
    return cv::imdecode(encoded, flags | cv::IMREAD_IGNORE_ORIENTATION);
  } catch (const cv::Exception& error) {
    return ImageError(header.format, absl::StrCat("it cannot be decoded: ", error.err));
  }
}

}  // namespace

absl::StatusOr<RgbImage> DecodeWithOpenCv(std::string_view file, const ImageHeader& header,
                                          OpenCvPixels pixels) {
  const bool wide = pixels == OpenCvPixels::kGrey16;
  const auto decoded =
      Decode(file, header, wide ? cv::IMREAD_GRAYSCALE | cv::IMREAD_ANYDEPTH : cv::IMREAD_COLOR);
  if (!decoded.ok()) return decoded.status();
  const cv::Mat& mat = *decoded;
  if (mat.empty()) return ImageError(header.format, "it cannot be decoded: it is corrupt");
  if (mat.cols != header.width || mat.rows != header.height ||
      mat.type() != (wide ? CV_16UC1 : CV_8UC3)) {
    return ImageError(header.format, absl::StrCat("its picture of ", mat.cols, " x ", mat.rows,
                                                  " differs from its header's ", header.width,
                                                  " x ", header.height));
  }
  RgbImage image{mat.cols, mat.rows, {}};
  const std::size_t row_bytes = 3 * static_cast<std::size_t>(mat.cols);
  image.pixels.resize(row_bytes * static_cast<std::size_t>(mat.rows));
  for (int y = 0; y < mat.rows; ++y) {
    std::uint8_t* rgb = image.pixels.data() + static_cast<std::size_t>(y) * row_bytes;
    if (wide) {
      FromGrey16(mat.ptr<std::uint16_t>(y), mat.cols, rgb);
    } else {
      FromBgr(mat.ptr<std::uint8_t>(y), mat.cols, rgb);
    }
  }
  return image;
}

}  // namespace llava::model
