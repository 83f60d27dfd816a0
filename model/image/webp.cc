#include <webp/decode.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "base/status_macros.h"
#include "model/image/formats.h"
#include "model/image/orientation.h"

namespace llava::model {
namespace {

constexpr std::size_t kRiffHeaderBytes = 12;  // "RIFF", size, "WEBP"
constexpr std::uint32_t kAnimationFlag = 0x02;
constexpr std::uint32_t kAlphaFlag = 0x10;
constexpr std::size_t kPieceBytes = std::size_t{1} << 16;

// What the container holds (developers.google.com/speed/webp/docs/riff_container).
struct Container {
  std::string_view image;  // the chunk "VP8 " or "VP8L", with its header
  std::string_view exif;
  std::string_view xmp;
  int canvas_width = 0;  // 0 without a VP8X chunk
  int canvas_height = 0;
  int left = 0;  // of the image on the canvas, in pixels
  int top = 0;
  bool alpha = false;
  bool animated = false;
};

absl::Status ReadExtendedHeader(std::string_view data, Container& container) {
  ByteReader fields(data, ByteReader::Order::kLittle);
  const std::uint32_t flags = fields.U8();
  fields.Skip(3);
  container.canvas_width = static_cast<int>(fields.U24()) + 1;
  container.canvas_height = static_cast<int>(fields.U24()) + 1;
  container.alpha = (flags & kAlphaFlag) != 0;
  if (!fields.ok()) return ImageError(ImageFormat::kWebp, "truncated in its VP8X chunk");
  container.animated = (flags & kAnimationFlag) != 0;
  return absl::OkStatus();
}

bool IsImage(std::string_view type) { return type == "VP8 " || type == "VP8L"; }

// The first frame of an animation: where it lies on the canvas, and its chunks.
absl::Status ReadFrame(std::string_view data, Container& container) {
  ByteReader frame(data, ByteReader::Order::kLittle);
  container.left = 2 * static_cast<int>(frame.U24());
  container.top = 2 * static_cast<int>(frame.U24());
  frame.Skip(10);  // width, height, duration, flags: the bitstream has what is wanted of them
  while (frame.remaining() >= 8) {
    const std::size_t start = frame.position();
    const std::string_view type = frame.Take(4);
    const std::uint32_t length = frame.U32();
    frame.Skip(length);
    if (!frame.ok()) return ImageError(ImageFormat::kWebp, "truncated in its first frame");
    if (length % 2 == 1 && frame.remaining() > 0) frame.Skip(1);
    if (IsImage(type)) {
      container.image = data.substr(start, 8 + std::size_t{length});
      return absl::OkStatus();
    }
  }
  return ImageError(ImageFormat::kWebp, "its first frame has no picture");
}

absl::StatusOr<Container> ReadContainer(std::string_view bytes) {
  ByteReader riff(bytes, ByteReader::Order::kLittle);
  riff.Skip(4);
  const std::size_t size = std::size_t{riff.U32()} + 8;
  if (size > bytes.size()) return ImageError(ImageFormat::kWebp, "truncated");
  const std::string_view file = bytes.substr(0, size);
  ByteReader reader(file, ByteReader::Order::kLittle);
  reader.Seek(kRiffHeaderBytes);
  Container container;
  while (reader.remaining() >= 8) {
    const std::size_t start = reader.position();
    const std::string_view type = reader.Take(4);
    const std::uint32_t length = reader.U32();
    const std::string_view data = reader.Take(length);
    if (!reader.ok()) return ImageError(ImageFormat::kWebp, "truncated");
    if (length % 2 == 1 && reader.remaining() > 0) reader.Skip(1);
    if (type == "VP8X") RETURN_IF_ERROR(ReadExtendedHeader(data, container));
    if (type == "EXIF") container.exif = data;
    if (type == "XMP ") container.xmp = data;
    if (type == "ANMF" && container.animated && container.image.empty()) {
      RETURN_IF_ERROR(ReadFrame(data, container));
    }
    if (IsImage(type) && !container.animated && container.image.empty()) {
      container.image = file.substr(start, 8 + std::size_t{length});
    }
  }
  if (container.image.empty()) return ImageError(ImageFormat::kWebp, "it has no picture");
  return container;
}

// Width, height and channels from the bitstream (RFC 6386, section 9.1; WebP lossless, section 3).
absl::StatusOr<ImageHeader> ReadBitstreamHeader(std::string_view chunk) {
  ByteReader fields(chunk, ByteReader::Order::kLittle);
  const bool lossless = fields.Take(4) == "VP8L";
  fields.Skip(4);
  ImageHeader header{.format = ImageFormat::kWebp};
  bool sound = true;
  if (lossless) {
    sound = fields.U8() == 0x2F;
    const std::uint32_t bits = fields.U32();
    header.width = static_cast<int>(bits & 0x3FFF) + 1;
    header.height = static_cast<int>(bits >> 14 & 0x3FFF) + 1;
    header.channels = (bits >> 28 & 1) != 0 ? 4 : 3;
  } else {
    const bool key_frame = (fields.U24() & 1) == 0;
    sound = key_frame && fields.Take(3) == "\x9d\x01\x2a";
    header.width = static_cast<int>(fields.U16() & 0x3FFF);
    header.height = static_cast<int>(fields.U16() & 0x3FFF);
    header.channels = 3;
  }
  if (!fields.ok()) return ImageError(ImageFormat::kWebp, "truncated in its picture's header");
  if (!sound || header.width == 0 || header.height == 0) {
    return ImageError(ImageFormat::kWebp, "the header of its picture is wrong");
  }
  return header;
}

// The frame must fill the canvas, or lie on it where there are several.
absl::Status CheckCanvas(const Container& container, const ImageHeader& frame) {
  const bool same = !container.animated && container.canvas_width == frame.width &&
                    container.canvas_height == frame.height;
  const bool inside = container.animated &&
                      container.left + frame.width <= container.canvas_width &&
                      container.top + frame.height <= container.canvas_height;
  if (container.canvas_width == 0 || same || inside) return absl::OkStatus();
  return ImageError(
      ImageFormat::kWebp,
      absl::StrCat("its canvas of ", container.canvas_width, " x ", container.canvas_height,
                   " differs from its picture of ", frame.width, " x ", frame.height));
}

// An image on a black canvas, where libwebp has transparent black.
RgbImage OnCanvas(const RgbImage& frame, const Container& container) {
  RgbImage canvas{container.canvas_width, container.canvas_height, {}};
  const std::size_t row_bytes = 3 * static_cast<std::size_t>(canvas.width);
  canvas.pixels.resize(row_bytes * static_cast<std::size_t>(canvas.height));
  const auto frame_bytes = 3 * static_cast<std::ptrdiff_t>(frame.width);
  for (int y = 0; y < frame.height; ++y) {
    const auto row = frame.pixels.begin() + y * frame_bytes;
    std::copy(
        row, row + frame_bytes,
        canvas.pixels.begin() +
            static_cast<std::ptrdiff_t>(static_cast<std::size_t>(container.top + y) * row_bytes) +
            3 * container.left);
  }
  return canvas;
}

struct Delete {
  void operator()(WebPIDecoder* decoder) const { WebPIDelete(decoder); }
};

// Piece by piece, so that the budget is looked at between them.
absl::StatusOr<RgbImage> DecodeFile(std::string_view file, const ImageHeader& header,
                                    DecodeBudget& budget) {
  RgbImage image{header.width, header.height, {}};
  image.pixels.resize(3 * static_cast<std::size_t>(header.pixels()));
  const std::unique_ptr<WebPIDecoder, Delete> decoder(
      WebPINewRGB(MODE_RGB, image.pixels.data(), image.pixels.size(), 3 * header.width));
  if (decoder == nullptr) return absl::ResourceExhaustedError("no memory for a WebP picture");
  const auto* data = reinterpret_cast<const std::uint8_t*>(file.data());
  VP8StatusCode status = VP8_STATUS_SUSPENDED;
  for (std::size_t end = 0; status == VP8_STATUS_SUSPENDED && end < file.size();) {
    if (budget.IsSpent()) return ImageError(ImageFormat::kWebp, kTooSlow);
    end = std::min(file.size(), end + kPieceBytes);
    status = WebPIUpdate(decoder.get(), data, end);
  }
  if (status == VP8_STATUS_SUSPENDED) return ImageError(ImageFormat::kWebp, "truncated");
  int width = 0, height = 0;
  if (status != VP8_STATUS_OK ||
      WebPIDecGetRGB(decoder.get(), nullptr, &width, &height, nullptr) == nullptr) {
    return ImageError(ImageFormat::kWebp, "it cannot be decoded: it is corrupt");
  }
  if (width != header.width || height != header.height) {
    return ImageError(ImageFormat::kWebp, absl::StrCat("its picture of ", width, " x ", height,
                                                       " differs from its header's ", header.width,
                                                       " x ", header.height));
  }
  return image;
}

}  // namespace

absl::StatusOr<ImageHeader> ProbeWebp(std::string_view bytes) {
  ASSIGN_OR_RETURN(const Container container, ReadContainer(bytes));
  ASSIGN_OR_RETURN(ImageHeader header, ReadBitstreamHeader(container.image));
  RETURN_IF_ERROR(CheckCanvas(container, header));
  if (container.canvas_width != 0) {
    header.width = container.canvas_width;
    header.height = container.canvas_height;
  }
  if (container.alpha) header.channels = 4;
  header.orientation = CombineOrientations(container.exif, container.xmp);
  return header;
}

// libwebp gets the image's own chunk and no other: neither alpha nor a profile is wanted.
absl::StatusOr<RgbImage> DecodeWebp(std::string_view bytes, const ImageHeader&,
                                    DecodeBudget& budget) {
  ASSIGN_OR_RETURN(const Container container, ReadContainer(bytes));
  ASSIGN_OR_RETURN(const ImageHeader frame, ReadBitstreamHeader(container.image));
  std::string plain("RIFF");
  const std::size_t padding = container.image.size() % 2;
  const std::size_t size = 4 + container.image.size() + padding;
  for (int shift = 0; shift < 32; shift += 8) plain.push_back(static_cast<char>(size >> shift));
  plain.append("WEBP").append(container.image).append(padding, '\0');
  ASSIGN_OR_RETURN(RgbImage image, DecodeFile(plain, frame, budget));
  if (!container.animated) return image;
  return OnCanvas(image, container);
}

}  // namespace llava::model
