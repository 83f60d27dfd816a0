#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "base/status_macros.h"
#include "model/image/formats.h"
#include "model/image/orientation.h"

namespace llava::model {
namespace {

constexpr std::uint32_t kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6;
constexpr std::size_t kColourTypeOffset = 25;  // of the first chunk, which is IHDR
constexpr std::uint32_t kMaxSide = 0x7FFFFFFF;
constexpr std::size_t kPieceBytes = std::size_t{1} << 16;

struct Chunk {
  std::string_view type;
  std::string_view data;
  bool check_sum_right = false;
};

// The chunk at the reader's position. Only what libpng is going to see is summed up. Where the file
// ends within pixel data, what is there of it: all rows may be.
absl::StatusOr<Chunk> NextChunk(std::string_view bytes, ByteReader& reader) {
  const std::size_t start = reader.position();
  const std::uint32_t length = reader.U32();
  Chunk chunk;
  chunk.type = reader.Take(4);
  if (chunk.type == "IDAT" && reader.remaining() < std::size_t{length} + 4) {
    chunk.data = reader.Take(std::min<std::size_t>(length, reader.remaining()));
    reader.Skip(reader.remaining());
    chunk.check_sum_right = reader.ok();
    return chunk;
  }
  chunk.data = reader.Take(length);
  const std::uint32_t sum = reader.U32();
  if (!reader.ok()) return ImageError(ImageFormat::kPng, "truncated");
  const bool critical = (chunk.type[0] & 0x20) == 0;
  chunk.check_sum_right =
      critical && crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()) + start + 4,
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

// The chunks that make the image and no other: alpha is not wanted, and a huge profile or a
// compressed text would only cost time and memory.
struct Chunks {
  std::string_view palette;
  std::string_view header;               // IHDR
  std::vector<std::string_view> pixels;  // of the IDATs, in pieces of at most kPieceBytes
  bool complete = false;                 // up to IEND
};

absl::StatusOr<Chunks> CollectChunks(std::string_view bytes) {
  ByteReader reader(bytes, ByteReader::Order::kBig);
  reader.Skip(kPngSignature.size());
  Chunks chunks;
  while (reader.remaining() > 0) {
    auto next = NextChunk(bytes, reader);
    if (!next.ok() && !chunks.pixels.empty()) break;  // all rows may be there
    ASSIGN_OR_RETURN(const Chunk chunk, std::move(next));
    const bool critical = (chunk.type[0] & 0x20) == 0;
    if (!critical) continue;
    if (chunk.type == "IEND") {
      chunks.complete = true;
      break;
    }
    if (!chunk.check_sum_right) {
      return ImageError(ImageFormat::kPng,
                        absl::StrCat("the check sum of its ", std::string(chunk.type),
                                     " chunk is wrong: the file is corrupt"));
    }
    if (chunk.type == "IDAT") {
      for (std::size_t at = 0; at < chunk.data.size(); at += kPieceBytes) {
        chunks.pixels.push_back(chunk.data.substr(at, kPieceBytes));
      }
    } else if (chunk.type == "PLTE") {
      chunks.palette = chunk.data;
    } else if (chunk.type == "IHDR") {
      chunks.header = chunk.data;
    } else {
      return ImageError(ImageFormat::kPng, absl::StrCat("its chunk ", std::string(chunk.type),
                                                        " is critical and not known"));
    }
  }
  return chunks;
}

// Appends a chunk with its length and check sum.
void PutChunk(std::string_view type, std::string_view data, std::string& out) {
  const auto put = [&out](std::uint32_t number) {
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(number >> shift));
  };
  put(static_cast<std::uint32_t>(data.size()));
  const std::size_t start = out.size();
  out.append(type).append(data);
  put(static_cast<std::uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(out.data()) + start, out.size() - start)));
}

// What stands before the pixels.
std::string PlainStart(const Chunks& chunks) {
  std::string out(kPngSignature);
  PutChunk("IHDR", chunks.header, out);
  if (!chunks.palette.empty()) PutChunk("PLTE", chunks.palette, out);
  return out;
}

// One decompression. libpng reads `plain`, then the pixels, each as a chunk of its own. It is never
// asked for what comes after the last row.
struct Decompression {
  std::string plain;
  const Chunks& chunks;
  DecodeBudget* budget;
  std::size_t read = 0;  // of `plain`
  std::size_t next = 0;  // of the pixels
  bool padded = false;
  std::vector<png_bytep> rows = {};
  std::string message = {};
  std::jmp_buf jump = {};
};

[[noreturn]] void FailPng(png_structp png, png_const_charp message) {
  auto* d = static_cast<Decompression*>(png_get_error_ptr(png));
  d->message = message;
  std::longjmp(d->jump, 1);
}
void IgnorePngWarning(png_structp, png_const_charp) {}

// The next chunk into `plain`. libpng asks for more before it takes the last row out of zlib, so a
// file that was cut after its last row gets a few bytes that mean nothing.
void NextPixels(png_structp png, Decompression& d) {
  constexpr std::string_view kPadding("\0\0\0\0", 4);
  const bool pad = d.next == d.chunks.pixels.size();
  if (pad && (d.chunks.complete || d.padded)) png_error(png, "truncated");
  if (d.budget->IsSpent()) png_error(png, kTooSlow);  // a row may take many pieces
  d.padded = pad;
  d.plain.clear();
  PutChunk("IDAT", pad ? kPadding : d.chunks.pixels[d.next++], d.plain);
  d.read = 0;
}

void ReadSome(png_structp png, png_bytep out, png_size_t size) {
  auto* d = static_cast<Decompression*>(png_get_io_ptr(png));
  while (size > 0) {
    if (d->read == d->plain.size()) {
      NextPixels(png, *d);
    }
    const std::size_t count = std::min<std::size_t>(size, d->plain.size() - d->read);
    std::memcpy(out, d->plain.data() + d->read, count);
    d->read += count;
    out += count;
    size -= count;
  }
}

// Whatever is stored becomes 8-bit RGB, 16-bit grey stays.
void ChoosePixels(png_structp png, bool wide_grey) {
  png_set_strip_alpha(png);
  if (wide_grey) return png_set_swap(png);
  png_set_strip_16(png);
  png_set_expand(png);  // palettes, and grey of fewer than 8 bits; tRNS is not among the chunks
  png_set_gray_to_rgb(png);
}

void ReadRows(png_structp png, png_infop info, Decompression& d, bool wide_grey) {
  png_set_read_fn(png, &d, ReadSome);
  png_read_info(png, info);
  ChoosePixels(png, wide_grey);
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  for (int pass = 0; pass < passes; ++pass) {
    for (const png_bytep row : d.rows) {
      if (d.budget->IsSpent()) png_error(png, kTooSlow);
      png_read_row(png, row, nullptr);
    }
  }
}

// False when libpng gave up; then `message` says why.
bool RunDecompression(Decompression& d, bool wide_grey) {
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &d, FailPng, IgnorePngWarning);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  volatile bool done = false;
  // The check sum of what was compressed may be cut off.
  if (png != nullptr && !d.chunks.complete) png_set_option(png, PNG_IGNORE_ADLER32, PNG_OPTION_ON);
  if (info != nullptr && setjmp(d.jump) == 0) {
    ReadRows(png, info, d, wide_grey);
    done = true;
  }
  png_destroy_read_struct(&png, &info, nullptr);
  return done;
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

absl::StatusOr<RgbImage> DecodePng(std::string_view bytes, const ImageHeader& header,
                                   DecodeBudget& budget) {
  ASSIGN_OR_RETURN(const Chunks chunks, CollectChunks(bytes));
  if (bytes[kColourTypeOffset] == static_cast<char>(kPalette) && chunks.palette.empty()) {
    return ImageError(ImageFormat::kPng, "it has no palette");
  }
  RgbImage image{header.width, header.height, {}};
  image.pixels.resize(3 * static_cast<std::size_t>(header.pixels()));
  Decompression d{.plain = PlainStart(chunks), .chunks = chunks, .budget = &budget};
  const bool wide_grey = header.channels == 1 && header.bits_per_channel == 16;
  std::vector<std::uint16_t> wide(wide_grey ? static_cast<std::size_t>(header.pixels()) : 0);
  const std::size_t row_bytes = (wide_grey ? 2 : 3) * static_cast<std::size_t>(header.width);
  auto* first = wide_grey ? reinterpret_cast<png_bytep>(wide.data()) : image.pixels.data();
  for (int y = 0; y < header.height; ++y) {
    d.rows.push_back(first + static_cast<std::size_t>(y) * row_bytes);
  }
  if (!RunDecompression(d, wide_grey)) {
    return ImageError(ImageFormat::kPng, d.message);
  }
  // Pillow's mode I;16 is clipped.
  for (std::size_t i = 0; i < wide.size(); ++i) {
    std::fill_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(3 * i), 3,
                static_cast<std::uint8_t>(std::min<std::uint16_t>(wide[i], 255)));
  }
  return image;
}

}  // namespace llava::model
