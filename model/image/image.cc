#include "model/image/image.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/image/formats.h"
#include "model/image/orientation.h"

namespace llava::model {
namespace {

using Decoder = absl::StatusOr<RgbImage> (*)(std::string_view, const ImageHeader&, DecodeBudget&);

Decoder DecoderOf(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return DecodeJpeg;
    case ImageFormat::kPng:
      return DecodePng;
    case ImageFormat::kWebp:
      return DecodeWebp;
    case ImageFormat::kGif:
      return DecodeGif;
    case ImageFormat::kBmp:
      return DecodeBmp;
  }
  return nullptr;
}

}  // namespace

std::string_view ImageFormatName(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
    case ImageFormat::kGif:
      return "GIF";
    case ImageFormat::kBmp:
      return "BMP";
  }
  return "?";
}

absl::Status ImageError(ImageFormat format, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("a ", std::string(ImageFormatName(format)), " picture: ", std::string(what)));
}

bool DecodeBudget::IsSpent() {
  if (spent_) return true;
  took_ = ThreadCpuTime() - begin_;
  if (limits_.stop) stopped_ = limits_.stop();
  spent_ = took_ > limits_.max_cpu_time || !stopped_.ok();
  return spent_;
}

absl::Status DecodeBudget::Error(ImageFormat format) const {
  if (!stopped_.ok()) return stopped_;
  return ImageError(format, absl::StrCat(kTooSlow, ": after ", Seconds(took_),
                                         " s of CPU time it is not complete, the limit is ",
                                         Seconds(limits_.max_cpu_time), " s"));
}

absl::StatusOr<ImageHeader> ProbeImage(std::string_view bytes) {
  if (bytes.substr(0, 3) == "\xff\xd8\xff") return ProbeJpeg(bytes);
  if (bytes.substr(0, kPngSignature.size()) == kPngSignature) return ProbePng(bytes);
  if (bytes.substr(0, 4) == "RIFF" && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") {
    return ProbeWebp(bytes);
  }
  if (bytes.substr(0, 6) == "GIF87a" || bytes.substr(0, 6) == "GIF89a") return ProbeGif(bytes);
  if (bytes.substr(0, 2) == "BM") return ProbeBmp(bytes);
  return absl::InvalidArgumentError(
      absl::StrCat("the picture is ", NameForeignFormat(bytes),
                   "; expected the bytes of a JPEG, PNG, WebP, GIF or BMP file"));
}

absl::Status CheckImageLimits(std::size_t file_bytes, const ImageHeader& header,
                              const ImageLimits& limits) {
  if (file_bytes > limits.max_bytes) {
    return ImageError(header.format, absl::StrCat("its file has ", file_bytes,
                                                  " bytes, the limit is ", limits.max_bytes));
  }
  if (header.pixels() > limits.max_pixels) {
    return ImageError(
        header.format,
        absl::StrCat("its ", header.width, " x ", header.height, " = ", header.pixels(),
                     " pixels are more than the limit of ", limits.max_pixels));
  }
  if (std::max(header.width, header.height) > kMaxImageSide) {
    return ImageError(header.format,
                      absl::StrCat("its size is ", header.width, " x ", header.height,
                                   ", the longest side supported is ", kMaxImageSide));
  }
  return absl::OkStatus();
}

absl::StatusOr<RgbImage> DecodeImage(std::string_view bytes, const ImageLimits& limits) {
  ASSIGN_OR_RETURN(const ImageHeader header, ProbeImage(bytes));
  RETURN_IF_ERROR(CheckImageLimits(bytes.size(), header, limits));
  DecodeBudget budget(limits);
  auto image = DecoderOf(header.format)(bytes, header, budget);
  // Whatever the library made of it.
  if (!image.ok() && budget.was_spent()) return budget.Error(header.format);
  RETURN_IF_ERROR(image.status());
  return ApplyOrientation(*std::move(image), header.orientation);
}

}  // namespace llava::model
