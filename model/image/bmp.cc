#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "base/status_macros.h"
#include "model/image/formats.h"

namespace llava::model {
namespace {

constexpr std::size_t kFileHeaderBytes = 14;
constexpr std::uint32_t kMaxColours = 256;  // of a palette
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
  bool is_run_length() const { return compression == kRle8 || compression == kRle4; }
  bool has_palette() const { return bits <= 8; }
  std::uint32_t palette_size() const {  // REQUIRES: has_palette()
    return colours == 0 ? 1u << bits : std::min(colours, kMaxColours);
  }
  std::uint32_t palette_entry_bytes() const { return header_size == 12 ? 3 : 4; }
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
  // Some writers forget the palette that stands between the header and the pixels.
  if (bmp.has_palette() && bmp.data_offset == kFileHeaderBytes + bmp.header_size) {
    bmp.data_offset += bmp.palette_size() * bmp.palette_entry_bytes();
  }
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
  if (bmp.has_palette() && bmp.colours > kMaxColours) {
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

// The row that stands `y` rows below the picture's top.
absl::StatusOr<std::string_view> RowOf(std::string_view bytes, const BmpHeader& bmp, int y) {
  const std::int64_t stored = bmp.height < 0 ? y : bmp.height - 1 - y;
  ByteReader reader(bytes);
  reader.Seek(bmp.data_offset);
  reader.Skip(static_cast<std::uint64_t>(stored * bmp.row_bytes()));
  const std::string_view row = reader.Take(static_cast<std::uint64_t>(bmp.row_bytes()));
  if (!reader.ok()) return ImageError(ImageFormat::kBmp, "truncated");
  return row;
}

// 5 or 6 bits become 8 as Pillow makes them.
void Scale16Bits(std::string_view row, const Masks& masks, std::span<std::uint8_t> rgb) {
  ByteReader reader(row);
  for (std::size_t i = 0; i < rgb.size(); i += 3) {
    const std::uint32_t pixel = reader.U16();
    for (std::size_t colour = 0; colour < 3; ++colour) {
      const int shift = std::countr_zero(masks[colour]);
      rgb[i + colour] = static_cast<std::uint8_t>(((pixel & masks[colour]) >> shift) * 255 /
                                                  (masks[colour] >> shift));
    }
  }
}

// Of pixels whose colours are whole bytes.
void PickBytes(std::string_view row, const BmpHeader& bmp, std::span<std::uint8_t> rgb) {
  const std::size_t step = bmp.bits / 8;
  for (std::size_t colour = 0; colour < 3; ++colour) {
    std::size_t from = static_cast<std::size_t>(std::countr_zero(bmp.masks[colour])) / 8;
    for (std::size_t i = colour; i < rgb.size(); i += 3, from += step) {
      rgb[i] = static_cast<std::uint8_t>(row[from]);
    }
  }
}

using Palette = std::array<std::array<std::uint8_t, 3>, kMaxColours>;

// What the file does not name is grey, as in Pillow.
Palette ReadPalette(std::string_view bytes, const BmpHeader& bmp) {
  Palette palette;
  for (std::size_t i = 0; i < palette.size(); ++i) palette[i].fill(static_cast<std::uint8_t>(i));
  ByteReader reader(bytes);
  reader.Seek(kFileHeaderBytes + bmp.header_size);
  const std::uint32_t count = bmp.has_palette() ? bmp.palette_size() : 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::string_view entry = reader.Take(bmp.palette_entry_bytes());
    if (!reader.ok()) break;
    for (std::size_t colour = 0; colour < 3; ++colour) {
      palette[i][colour] = static_cast<std::uint8_t>(entry[2 - colour]);
    }
  }
  return palette;
}

void LookUp(std::string_view row, std::uint32_t bits, const Palette& palette,
            std::span<std::uint8_t> rgb) {
  const std::uint32_t in_byte = 8 / bits;
  for (std::size_t x = 0; 3 * x < rgb.size(); ++x) {
    const auto byte = static_cast<std::uint8_t>(row[x / in_byte]);
    const auto shift = 8 - bits * (1 + static_cast<std::uint32_t>(x % in_byte));
    const auto& colour = palette[(byte >> shift) & ((1u << bits) - 1)];
    std::copy(colour.begin(), colour.end(), rgb.begin() + static_cast<std::ptrdiff_t>(3 * x));
  }
}

// Indices that are run-length encoded, the lowest row first. Written as one line of pixels that
// wraps, as Pillow reads them; what the runs leave out has index 0.
class Runs {
 public:
  Runs(std::string_view bytes, const BmpHeader& bmp)
      : reader_(bytes),
        width_(static_cast<std::size_t>(bmp.width)),
        four_bits_(bmp.compression == kRle4),
        indices_(width_ * static_cast<std::size_t>(bmp.height)) {
    reader_.Seek(bmp.data_offset);
  }

  absl::StatusOr<std::vector<std::uint8_t>> Expand(DecodeBudget& budget) {
    while (at_ < indices_.size() && !ended_) {
      if (budget.IsSpent()) return budget.Error(ImageFormat::kBmp);
      const std::size_t count = reader_.U8();
      const std::uint8_t byte = reader_.U8();
      count > 0 ? Repeat(count, byte) : Escape(byte);
      if (!reader_.ok()) return ImageError(ImageFormat::kBmp, "truncated");
    }
    return std::move(indices_);
  }

 private:
  void Repeat(std::size_t count, std::uint8_t byte) {
    count = std::min(count, width_ - std::min(column_, width_));  // never beyond the row's end
    column_ += count;
    for (std::size_t i = 0; i < count; ++i) Put(Index(byte, i));
  }

  void Escape(std::uint8_t byte) {
    if (byte == 0) {  // the row ends
      at_ = (at_ + width_ - 1) / width_ * width_;
      column_ = 0;
    } else if (byte == 1) {  // the picture ends
      ended_ = true;
    } else if (byte == 2) {  // go to the right and up
      const std::size_t right = reader_.U8();
      at_ += right + reader_.U8() * width_;
      column_ = at_ % width_;
    } else {
      AsTheyAre(byte);
    }
  }

  // That many pixels stand here without runs, filled up to whole words.
  void AsTheyAre(std::size_t count) {
    const std::string_view pixels = reader_.Take(four_bits_ ? (count + 1) / 2 : count);
    if (!reader_.ok()) return;
    for (std::size_t i = 0; i < count; ++i) {
      Put(Index(static_cast<std::uint8_t>(pixels[four_bits_ ? i / 2 : i]), i));
    }
    column_ += count;
    if (reader_.position() % 2 != 0 && reader_.remaining() > 0) reader_.Skip(1);
  }

  std::uint8_t Index(std::uint8_t byte, std::size_t i) const {
    if (!four_bits_) return byte;
    return i % 2 == 0 ? byte >> 4 : byte & 0x0F;
  }

  void Put(std::uint8_t index) {
    if (at_ < indices_.size()) indices_[at_++] = index;
  }

  ByteReader reader_;
  const std::size_t width_;
  const bool four_bits_;
  std::vector<std::uint8_t> indices_;
  std::size_t at_ = 0;      // in indices_
  std::size_t column_ = 0;  // as far as runs are counted
  bool ended_ = false;
};

std::span<std::uint8_t> RowOf(RgbImage& image, int y) {
  const std::size_t row_bytes = 3 * static_cast<std::size_t>(image.width);
  return std::span(image.pixels).subspan(static_cast<std::size_t>(y) * row_bytes, row_bytes);
}

RgbImage Blank(const ImageHeader& header) {
  RgbImage image{header.width, header.height, {}};
  image.pixels.resize(3 * static_cast<std::size_t>(header.width) *
                      static_cast<std::size_t>(header.height));
  return image;
}

absl::StatusOr<RgbImage> DecodeRuns(std::string_view bytes, const BmpHeader& bmp,
                                    const ImageHeader& header, DecodeBudget& budget) {
  ASSIGN_OR_RETURN(const std::vector<std::uint8_t> indices, Runs(bytes, bmp).Expand(budget));
  const Palette palette = ReadPalette(bytes, bmp);
  RgbImage image = Blank(header);
  const auto width = static_cast<std::size_t>(image.width);
  const char* row = reinterpret_cast<const char*>(indices.data());
  for (int y = image.height - 1; y >= 0; --y, row += width) {
    if (budget.IsSpent()) return budget.Error(ImageFormat::kBmp);
    LookUp({row, width}, 8, palette, RowOf(image, y));
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
  const std::int64_t data_bytes =
      static_cast<std::int64_t>(bytes.size()) - static_cast<std::int64_t>(bmp.data_offset);
  if (bmp.data_offset < kFileHeaderBytes + bmp.header_size || data_bytes <= 0 ||
      (!bmp.is_run_length() && data_bytes / bmp.row_bytes() < height)) {
    return ImageError(ImageFormat::kBmp, "truncated");
  }
  ImageHeader header{.format = ImageFormat::kBmp};
  header.width = static_cast<int>(bmp.width);
  header.height = static_cast<int>(height);
  header.channels = bmp.has_palette() ? 1 : 3;
  header.bits_per_channel = bmp.bits < 8 ? static_cast<int>(bmp.bits) : 8;
  return header;
}

absl::StatusOr<RgbImage> DecodeBmp(std::string_view bytes, const ImageHeader& header,
                                   DecodeBudget& budget) {
  ASSIGN_OR_RETURN(const BmpHeader bmp, ReadHeader(bytes));
  if (bmp.is_run_length()) return DecodeRuns(bytes, bmp, header, budget);
  const Palette palette = ReadPalette(bytes, bmp);
  RgbImage image = Blank(header);
  for (int y = 0; y < image.height; ++y) {
    if (budget.IsSpent()) return budget.Error(ImageFormat::kBmp);
    const std::span<std::uint8_t> rgb = RowOf(image, y);
    ASSIGN_OR_RETURN(const std::string_view row, RowOf(bytes, bmp, y));
    if (bmp.has_palette()) {
      LookUp(row, bmp.bits, palette, rgb);
    } else if (bmp.bits == 16) {
      Scale16Bits(row, bmp.masks, rgb);
    } else {
      PickBytes(row, bmp, rgb);
    }
  }
  return image;
}

}  // namespace llava::model
