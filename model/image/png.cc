#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "base/status_macros.h"
#include "model/image/formats.h"
#include "model/image/opencv.h"
#include "model/image/orientation.h"

namespace llava::model {
namespace {

constexpr std::uint32_t kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6;
constexpr std::size_t kColourTypeOffset = 25;  // of the first chunk, which is IHDR
constexpr std::uint32_t kMaxSide = 0x7FFFFFFF;

struct Chunk {
  std::string_view type;
  std::string_view data;
  std::string_view whole;  // length, type, data and check sum
  bool check_sum_right = false;
};

// The chunk at the reader's position. Only what libpng is going to see is summed up.
absl::StatusOr<Chunk> NextChunk(std::string_view bytes, ByteReader& reader) {
  const std::size_t start = reader.position();
  const std::uint32_t length = reader.U32();
  Chunk chunk;
  chunk.type = reader.Take(4);
  chunk.data = reader.Take(length);
  const std::uint32_t sum = reader.U32();
  if (!reader.ok()) return ImageError(ImageFormat::kPng, "truncated");
  chunk.whole = bytes.substr(start, reader.position() - start);
  const bool critical = (chunk.type[0] & 0x20) == 0;
  chunk.check_sum_right =
      critical && crc32_z(0, reinterpret_cast<const Bytef*>(chunk.whole.data()) + 4,
                          4 + chunk.data.size()) == sum;
  return chunk;
}

bool IsAllowedDepth(std::uint32_t colour, std::uint32_t depth) {
  const bool small = depth == 1 || depth == 2 || depth == 4;
  switch (colour) {
    case kGrey:
      return small || depth == 8 || depth == 16;
    case kPalette:
      return small || depth == 8;
    case kRgb:
    case kGreyAlpha:
    case kRgba:
      return depth == 8 || depth == 16;
    default:
      return false;
  }
}

int ChannelsOf(std::uint32_t colour) {
  switch (colour) {
    case kRgb:
      return 3;
    case kGreyAlpha:
      return 2;
    case kRgba:
      return 4;
    default:
      return 1;
  }
}

absl::StatusOr<ImageHeader> ReadHeaderChunk(std::string_view data) {
  ByteReader fields(data, ByteReader::Order::kBig);
  const std::uint32_t width = fields.U32();
  const std::uint32_t height = fields.U32();
  const std::uint32_t depth = fields.U8();
  const std::uint32_t colour = fields.U8();
  const std::uint32_t compression = fields.U8();
  const std::uint32_t filter = fields.U8();
  const std::uint32_t interlace = fields.U8();
  if (!fields.ok() || fields.remaining() > 0) {
    return ImageError(ImageFormat::kPng, "an IHDR chunk that is not of 13 bytes");
  }
  if (width == 0 || height == 0 || width > kMaxSide || height > kMaxSide) {
    return ImageError(ImageFormat::kPng, absl::StrCat("its size is ", width, " x ", height));
  }
  if (!IsAllowedDepth(colour, depth) || compression != 0 || filter != 0 || interlace > 1) {
    return ImageError(ImageFormat::kPng,
                      absl::StrCat("its header is wrong (colour type ", colour, ", depth ", depth,
                                   ", compression ", compression, ", filter ", filter,
                                   ", interlace ", interlace, ")"));
  }
  ImageHeader header{.format = ImageFormat::kPng};
  header.width = static_cast<int>(width);
  header.height = static_cast<int>(height);
  header.channels = ChannelsOf(colour);
  header.bits_per_channel = static_cast<int>(depth);
  return header;
}

// The text of an uncompressed iTXt chunk with XMP in it, else nothing.
std::string_view XmpOf(std::string_view data) {
  constexpr std::string_view kKeyword("XML:com.adobe.xmp\0", 18);
  if (data.substr(0, kKeyword.size()) != kKeyword) return {};
  std::string_view rest = data.substr(kKeyword.size());
  if (rest.size() < 2 || rest[0] != 0) return {};
  rest.remove_prefix(2);
  for (int field = 0; field < 2; ++field) {  // language, translated keyword
    const std::size_t end = rest.find('\0');
    if (end == std::string_view::npos) return {};
    rest.remove_prefix(end + 1);
  }
  return rest;
}

}  // namespace

absl::StatusOr<ImageHeader> ProbePng(std::string_view bytes) {
  ByteReader reader(bytes, ByteReader::Order::kBig);
  reader.Skip(kPngSignature.size());
  ASSIGN_OR_RETURN(const Chunk first, NextChunk(bytes, reader));
  if (first.type != "IHDR" || !first.check_sum_right) {
    return ImageError(ImageFormat::kPng, "its first chunk is not a sound IHDR");
  }
  ASSIGN_OR_RETURN(ImageHeader header, ReadHeaderChunk(first.data));
  std::string_view exif;
  std::string_view xmp;
  ByteReader lengths = reader;
  while (lengths.remaining() > 0) {  // without the check sums: IDAT may be long
    const std::uint32_t length = lengths.U32();
    const std::string_view type = lengths.Take(4);
    const std::string_view data = lengths.Take(length);
    lengths.Skip(4);
    if (!lengths.ok() || type == "IEND") break;
    if (type == "eXIf") exif = data;
    if (type == "iTXt" && xmp.empty()) xmp = XmpOf(data);
  }
  header.orientation = CombineOrientations(exif, xmp);
  return header;
}

// OpenCV (libpng) gets the chunks that make the image and no other: alpha is not wanted, and a
// huge profile or a compressed text would only cost time, memory and warnings on stderr.
absl::StatusOr<RgbImage> DecodePng(std::string_view bytes, const ImageHeader& header) {
  ByteReader reader(bytes, ByteReader::Order::kBig);
  reader.Skip(kPngSignature.size());
  std::string plain(kPngSignature);
  plain.reserve(bytes.size());
  const bool palette_needed = bytes[kColourTypeOffset] == static_cast<char>(kPalette);
  bool has_palette = false;
  for (bool at_end = false; !at_end;) {
    ASSIGN_OR_RETURN(const Chunk chunk, NextChunk(bytes, reader));
    at_end = chunk.type == "IEND";
    const bool wanted =
        at_end || chunk.type == "IHDR" || chunk.type == "PLTE" || chunk.type == "IDAT";
    const bool critical = (chunk.type[0] & 0x20) == 0;
    if (!wanted && !critical) continue;
    if (!chunk.check_sum_right) {
      return ImageError(ImageFormat::kPng,
                        absl::StrCat("the check sum of its ", std::string(chunk.type),
                                     " chunk is wrong: the file is corrupt"));
    }
    if (!wanted) {
      return ImageError(ImageFormat::kPng, absl::StrCat("its chunk ", std::string(chunk.type),
                                                        " is critical and not known"));
    }
    has_palette |= chunk.type == "PLTE";
    if (chunk.type == "IDAT" && palette_needed && !has_palette) {
      return ImageError(ImageFormat::kPng, "it has no palette");
    }
    plain.append(chunk.whole);
  }
  const bool wide_grey = header.channels == 1 && header.bits_per_channel == 16;
  return DecodeWithOpenCv(plain, header,
                          wide_grey ? OpenCvPixels::kGrey16 : OpenCvPixels::kColour8);
}

}  // namespace llava::model
