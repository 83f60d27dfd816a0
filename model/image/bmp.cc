#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "base/status_macros.h"
#include "model/image/formats.h"
#include "model/image/opencv.h"

namespace llava::model {
namespace {

constexpr std::size_t kFileHeaderBytes = 14;
enum Compression : std::uint32_t { kRaw = 0, kRle8 = 1, kRle4 = 2, kBitFields = 3 };

using Masks = std::array<std::uint32_t, 3>;  // of red, green and blue in a pixel
constexpr Masks k555{0x7C00, 0x03E0, 0x001F};
constexpr Masks k565{0xF800, 0x07E0, 0x001F};
constexpr Masks kBgrx{0xFF0000, 0xFF00, 0xFF};

struct BmpHeader {
  std::uint32_t data_offset = 0;
  std::uint32_t header_size = 0;
  std::int64_t width = 0;
  std::int64_t height = 0;  // negative: rows from the top
  std::uint32_t bits = 0;
  std::uint32_t compression = kRaw;
  std::uint32_t colours = 0;  // of the palette; 0: as many as `bits` allow
  Masks masks{};

  std::int64_t row_bytes() const { return (width * bits + 31) / 32 * 4; }
  // OpenCV 4.6 scales 5 and 6 bits otherwise than Pillow, and reads no masks inside a V4 header.
  bool is_ours() const { return bits == 16 || compression == kBitFields; }
};

absl::StatusOr<BmpHeader> ReadHeader(std::string_view bytes) {
  ByteReader fields(bytes, ByteReader::Order::kLittle);
  BmpHeader bmp;
  fields.Seek(10);
  bmp.data_offset = fields.U32();
  bmp.header_size = fields.U32();
  if (bmp.header_size == 12) {
    bmp.width = fields.U16();
    bmp.height = fields.U16();
    fields.Skip(2);
    bmp.bits = fields.U16();
  } else {
    bmp.width = static_cast<std::int32_t>(fields.U32());
    bmp.height = static_cast<std::int32_t>(fields.U32());
    fields.Skip(2);
    bmp.bits = fields.U16();
    bmp.compression = fields.U32();
    fields.Skip(12);
    bmp.colours = fields.U32();
    fields.Skip(4);
  }
  bmp.masks = bmp.bits == 16 ? k555 : kBgrx;
  if (bmp.compression == kBitFields) {  // behind the 40 bytes of the oldest header, in later ones
    for (std::uint32_t& mask : bmp.masks) mask = fields.U32();
    if (bmp.bits == 32 && bmp.masks == Masks{}) bmp.masks = kBgrx;
  }
  if (!fields.ok()) return ImageError(ImageFormat::kBmp, "truncated in its header");
  return bmp;
}

bool IsKnownHeaderSize(std::uint32_t size) {
  for (const std::uint32_t known : {12, 40, 52, 56, 64, 108, 124}) {
    if (size == known) return true;
  }
  return false;
}

bool IsByte(std::uint32_t mask) {
  return mask == 0xFF || mask == 0xFF00 || mask == 0xFF0000 || mask == 0xFF000000;
}

absl::Status CheckMasks(const BmpHeader& bmp) {
  const Masks& masks = bmp.masks;
  const bool sound =
      bmp.bits == 16 ? masks == k555 || masks == k565
                     : bmp.bits == 32 && IsByte(masks[0]) && IsByte(masks[1]) && IsByte(masks[2]);
  if (sound) return absl::OkStatus();
  return ImageError(
      ImageFormat::kBmp,
      absl::StrCat("masks ", absl::Hex(masks[0]), ", ", absl::Hex(masks[1]), ", ",
                   absl::Hex(masks[2]), " with ", bmp.bits, " bits per pixel are not supported"));
}

absl::Status CheckKind(const BmpHeader& bmp) {
  if (!IsKnownHeaderSize(bmp.header_size)) {
    return ImageError(ImageFormat::kBmp,
                      absl::StrCat("a header of ", bmp.header_size, " bytes is not known"));
  }
  const std::uint32_t bits = bmp.bits;
  if (bits <= 8 && bmp.colours > 256) {
    return ImageError(ImageFormat::kBmp, absl::StrCat("a palette of ", bmp.colours, " colours"));
  }
  bool sound = false;
  switch (bmp.compression) {
    case kRaw:
      sound = bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32;
      break;
    case kRle8:
      sound = bits == 8 && bmp.height > 0;
      break;
    case kRle4:
      sound = bits == 4 && bmp.height > 0;
      break;
    case kBitFields:
      return CheckMasks(bmp);
    default:
      break;
  }
  if (sound) return absl::OkStatus();
  return ImageError(ImageFormat::kBmp, absl::StrCat("compression ", bmp.compression, " with ", bits,
                                                    " bits per pixel is not supported"));
}

// Pixels of 16 or 32 bits whose colours stand under masks, scaled to 8 bits as Pillow scales them.
RgbImage DecodeMasked(std::string_view bytes, const BmpHeader& bmp) {
  const auto width = static_cast<std::size_t>(bmp.width);
  const auto height = static_cast<std::size_t>(bmp.height < 0 ? -bmp.height : bmp.height);
  RgbImage image{static_cast<int>(width), static_cast<int>(height), {}};
  image.pixels.resize(3 * width * height);
  std::uint8_t* out = image.pixels.data();
  for (std::size_t y = 0; y < height; ++y) {
    const std::size_t row = bmp.height < 0 ? y : height - 1 - y;
    ByteReader reader(bytes, ByteReader::Order::kLittle);
    reader.Seek(bmp.data_offset + row * static_cast<std::size_t>(bmp.row_bytes()));
    for (std::size_t x = 0; x < width; ++x) {
      const std::uint32_t pixel = bmp.bits == 16 ? reader.U16() : reader.U32();
      for (const std::uint32_t mask : bmp.masks) {
        const int shift = std::countr_zero(mask);
        *out++ = static_cast<std::uint8_t>(((pixel & mask) >> shift) * 255 / (mask >> shift));
      }
    }
  }
  return image;
}

}  // namespace

absl::StatusOr<ImageHeader> ProbeBmp(std::string_view bytes) {
  ASSIGN_OR_RETURN(const BmpHeader bmp, ReadHeader(bytes));
  RETURN_IF_ERROR(CheckKind(bmp));
  const std::int64_t height = bmp.height < 0 ? -bmp.height : bmp.height;
  constexpr std::int64_t kMaxSide = std::numeric_limits<std::int32_t>::max();
  if (bmp.width <= 0 || height == 0 || height > kMaxSide) {
    return ImageError(ImageFormat::kBmp,
                      absl::StrCat("its size is ", bmp.width, " x ", bmp.height));
  }
  const bool run_length = bmp.compression == kRle8 || bmp.compression == kRle4;
  const std::int64_t data_bytes =
      static_cast<std::int64_t>(bytes.size()) - static_cast<std::int64_t>(bmp.data_offset);
  if (bmp.data_offset < kFileHeaderBytes + bmp.header_size || data_bytes <= 0 ||
      (!run_length && data_bytes / bmp.row_bytes() < height)) {
    return ImageError(ImageFormat::kBmp, "truncated");
  }
  ImageHeader header{.format = ImageFormat::kBmp};
  header.width = static_cast<int>(bmp.width);
  header.height = static_cast<int>(height);
  header.channels = bmp.bits <= 8 ? 1 : 3;
  header.bits_per_channel = bmp.bits < 8 ? static_cast<int>(bmp.bits) : 8;
  return header;
}

absl::StatusOr<RgbImage> DecodeBmp(std::string_view bytes, const ImageHeader& header,
                                   DecodeBudget& budget) {
  if (budget.IsSpent()) return ImageError(ImageFormat::kBmp, kTooSlow);
  ASSIGN_OR_RETURN(const BmpHeader bmp, ReadHeader(bytes));
  if (bmp.is_ours()) return DecodeMasked(bytes, bmp);
  return DecodeWithOpenCv(bytes, header, OpenCvPixels::kColour8);
}

}  // namespace llava::model
