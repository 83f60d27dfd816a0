#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// clang-format off
#include <jpeglib.h>  // needs what <cstdio> declares
#include <jerror.h>
// clang-format on

#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "model/image/formats.h"
#include "model/image/orientation.h"

namespace llava::model {
namespace {

// Markers of the JPEG standard (ITU-T T.81, table B.1).
constexpr std::uint32_t kRst0 = 0xD0, kSoi = 0xD8, kEoi = 0xD9, kSos = 0xDA, kApp1 = 0xE1;
constexpr std::uint32_t kTem = 0x01, kProgressive = 0xC2, kProgressiveArithmetic = 0xCA;
constexpr std::uint32_t kSof0 = 0xC0, kSof15 = 0xCF, kDht = 0xC4, kJpg = 0xC8, kDac = 0xCC;

constexpr std::string_view kExif("Exif\0\0", 6);
constexpr std::string_view kXmp("http://ns.adobe.com/xap/1.0/\0", 29);

// A file with more is made to keep a decoder busy: no encoder writes so many scans, and each costs
// as much as the image has pixels. libjpeg's own progressive script has 10 scans, which may be of
// 100 million pixels.
constexpr int kMaxScans = 100;
constexpr std::int64_t kMaxScannedPixels = 1'000'000'000;

bool IsFrame(std::uint32_t marker) {
  return marker >= kSof0 && marker <= kSof15 && marker != kDht && marker != kJpg && marker != kDac;
}

// Baseline, extended and progressive, with Huffman or arithmetic coding; neither lossless nor
// hierarchical.
bool IsSupportedFrame(std::uint32_t marker) {
  return marker <= 0xC2 || marker == 0xC9 || marker == 0xCA;
}

// The next marker, past fill bytes and whatever stands between segments; kEoi at the end.
std::uint32_t NextMarker(ByteReader& reader) {
  while (reader.remaining() > 0) {
    if (reader.U8() != 0xFF) continue;
    std::uint32_t marker = 0xFF;
    while (marker == 0xFF && reader.remaining() > 0) marker = reader.U8();
    if (marker != 0 && marker != 0xFF) return marker;
  }
  return kEoi;
}

absl::StatusOr<ImageHeader> ReadFrame(std::uint32_t marker, std::string_view segment) {
  if (!IsSupportedFrame(marker)) {
    return ImageError(ImageFormat::kJpeg,
                      absl::StrCat("lossless and hierarchical coding are not supported (marker FF",
                                   absl::Hex(marker), ")"));
  }
  ByteReader fields(segment, ByteReader::Order::kBig);
  const std::uint32_t precision = fields.U8();
  ImageHeader header{.format = ImageFormat::kJpeg};
  header.height = static_cast<int>(fields.U16());
  header.width = static_cast<int>(fields.U16());
  header.channels = static_cast<int>(fields.U8());
  if (!fields.ok()) return ImageError(ImageFormat::kJpeg, "truncated in its frame header");
  if (precision != 8) {
    return ImageError(ImageFormat::kJpeg,
                      absl::StrCat(precision, " bits per sample are not supported, only 8"));
  }
  if (header.width == 0 || header.height == 0) {
    return ImageError(ImageFormat::kJpeg,
                      absl::StrCat("its size is ", header.width, " x ", header.height));
  }
  if (header.channels != 1 && header.channels != 3 && header.channels != 4) {
    return ImageError(ImageFormat::kJpeg,
                      absl::StrCat(header.channels, " components, expected 1, 3 or 4"));
  }
  return header;
}

// How often a progressive image is gone through; 1 for others, whose scans are parts of it.
int CountScans(std::string_view bytes) {
  ByteReader reader(bytes, ByteReader::Order::kBig);
  reader.Skip(2);  // SOI
  int scans = 0;
  bool progressive = false;
  while (reader.ok()) {
    const std::uint32_t marker = NextMarker(reader);
    if (marker == kEoi || (marker == kSos && !progressive)) break;
    if ((marker >= kRst0 && marker <= kSoi) || marker == kTem) continue;
    progressive |= marker == kProgressive || marker == kProgressiveArithmetic;
    if (marker == kSos) ++scans;
    const std::uint32_t length = reader.U16();
    reader.Skip(length < 2 ? 0 : length - 2);
  }
  return std::max(scans, 1);
}

bool IsTooMuch(int scans, std::int64_t pixels) {
  return scans > kMaxScans || (scans > 1 && scans * pixels > kMaxScannedPixels);
}

absl::Status TooManyScans(int scans, std::int64_t pixels) {
  return ImageError(
      ImageFormat::kJpeg,
      absl::StrCat(kTooSlow, ": it has ", scans, " scans of ", pixels, " pixels, the limits are ",
                   kMaxScans, " scans and ", kMaxScannedPixels, " pixels in all"));
}

struct ErrorManager {
  jpeg_error_mgr base;  // first: libjpeg hands back a pointer to it
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void FailJpeg(j_common_ptr jpeg) {
  auto* errors = reinterpret_cast<ErrorManager*>(jpeg->err);
  errors->base.format_message(jpeg, errors->message);
  std::longjmp(errors->jump, 1);
}

void IgnoreMessage(j_common_ptr) {}
void IgnoreWarning(j_common_ptr jpeg, int level) {
  if (level < 0) ++jpeg->err->num_warnings;
}

// The whole file is the buffer: who asks for more has reached its end.
boolean FailAtEnd(j_decompress_ptr jpeg) {
  ERREXIT(jpeg, JERR_INPUT_EOF);
  return FALSE;
}

struct Progress {
  jpeg_progress_mgr base;  // first: libjpeg hands back a pointer to it
  DecodeBudget* budget;
  bool too_many_scans;
};

// libjpeg asks once for each row of blocks of each scan, and for each row of the result.
void LimitWork(j_common_ptr jpeg) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(jpeg);
  auto* progress = reinterpret_cast<Progress*>(jpeg->progress);
  const std::int64_t pixels =
      std::int64_t{decompress->image_width} * std::int64_t{decompress->image_height};
  const int scans = decompress->input_scan_number;
  progress->too_many_scans = IsTooMuch(scans, pixels);
  if (progress->too_many_scans || progress->budget->IsSpent()) ERREXIT(jpeg, JERR_BAD_PROGRESSION);
}

// Pillow's rounding of a * b / 255.
std::uint8_t MulDiv255(int a, int b) {
  const int product = a * b + 128;
  return static_cast<std::uint8_t>((product + (product >> 8)) >> 8);
}

// Adobe writes CMYK inverted (255 is no ink), and Pillow takes every CMYK JPEG for one of Adobe's.
void ConvertRow(const std::uint8_t* row, int width, int channels, std::uint8_t* out) {
  if (channels == 1) {
    for (int x = 0; x < width; ++x) {
      out[3 * x] = out[3 * x + 1] = out[3 * x + 2] = row[x];
    }
    return;
  }
  for (int x = 0; x < width; ++x) {
    const int no_black = row[4 * x + 3];
    for (int c = 0; c < 3; ++c) {
      out[3 * x + c] =
          static_cast<std::uint8_t>(no_black - MulDiv255(255 - row[4 * x + c], no_black));
    }
  }
}

// One decompression. Nothing here needs a destructor to run when libjpeg jumps out.
struct Decompression {
  jpeg_decompress_struct jpeg;
  ErrorManager errors;
  Progress progress;
  bool size_differs;
};

void ReadRows(Decompression& d, const ImageHeader& header, std::uint8_t* row, std::uint8_t* out) {
  jpeg_read_header(&d.jpeg, TRUE);
  d.size_differs = d.jpeg.image_width != static_cast<JDIMENSION>(header.width) ||
                   d.jpeg.image_height != static_cast<JDIMENSION>(header.height) ||
                   d.jpeg.num_components != header.channels;
  if (d.size_differs) return;
  d.jpeg.out_color_space = header.channels == 1   ? JCS_GRAYSCALE
                           : header.channels == 3 ? JCS_RGB
                                                  : JCS_CMYK;
  jpeg_start_decompress(&d.jpeg);
  while (d.jpeg.output_scanline < d.jpeg.output_height) {
    JSAMPROW target = header.channels == 3 ? out : row;
    jpeg_read_scanlines(&d.jpeg, &target, 1);
    if (header.channels != 3) ConvertRow(row, header.width, header.channels, out);
    out += 3 * static_cast<std::size_t>(header.width);
  }
}

// False when libjpeg gave up; then errors.message says why.
bool RunDecompression(Decompression& d, std::string_view bytes, const ImageHeader& header,
                      std::uint8_t* row, std::uint8_t* out) {
  d.jpeg.err = jpeg_std_error(&d.errors.base);
  d.errors.base.error_exit = FailJpeg;
  d.errors.base.output_message = IgnoreMessage;
  d.errors.base.emit_message = IgnoreWarning;
  if (setjmp(d.errors.jump) != 0) {
    jpeg_destroy_decompress(&d.jpeg);
    return false;
  }
  jpeg_create_decompress(&d.jpeg);
  jpeg_mem_src(&d.jpeg, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  d.jpeg.src->fill_input_buffer = FailAtEnd;
  d.progress.base.progress_monitor = LimitWork;
  d.jpeg.progress = &d.progress.base;
  ReadRows(d, header, row, out);
  jpeg_destroy_decompress(&d.jpeg);
  return true;
}

}  // namespace

absl::StatusOr<ImageHeader> ProbeJpeg(std::string_view bytes) {
  ByteReader reader(bytes, ByteReader::Order::kBig);
  reader.Skip(2);  // SOI
  absl::StatusOr<ImageHeader> frame =
      ImageError(ImageFormat::kJpeg, "it ends before its frame header");
  std::string exif;
  std::string_view xmp;
  for (;;) {
    const std::uint32_t marker = NextMarker(reader);
    if (marker == kEoi || marker == kSos) break;
    if ((marker >= kRst0 && marker <= kSoi) || marker == kTem) continue;
    const std::uint32_t length = reader.U16();
    if (length < 2) return ImageError(ImageFormat::kJpeg, "a segment without a length");
    const std::string_view segment = reader.Take(length - 2);
    if (!reader.ok()) return ImageError(ImageFormat::kJpeg, "truncated in its header");
    if (IsFrame(marker)) {
      if (frame.ok()) return ImageError(ImageFormat::kJpeg, "two frame headers");
      frame = ReadFrame(marker, segment);
      if (!frame.ok()) return frame;
    } else if (marker == kApp1 && segment.substr(0, kExif.size()) == kExif) {
      exif.append(exif.empty() ? segment : segment.substr(kExif.size()));
    } else if (marker == kApp1 && segment.substr(0, kXmp.size()) == kXmp) {
      xmp = segment.substr(kXmp.size());
    }
  }
  if (frame.ok()) frame->orientation = CombineOrientations(exif, xmp);
  return frame;
}

absl::StatusOr<RgbImage> DecodeJpeg(std::string_view bytes, const ImageHeader& header,
                                    DecodeBudget& budget) {
  const int scans = CountScans(bytes);
  if (IsTooMuch(scans, header.pixels())) {
    return TooManyScans(scans, header.pixels());
  }
  RgbImage image{header.width, header.height, {}};
  image.pixels.resize(3 * static_cast<std::size_t>(header.pixels()));
  std::vector<std::uint8_t> row(4 * static_cast<std::size_t>(header.width));
  const auto decompression = std::make_unique<Decompression>();  // zeroed
  decompression->progress.budget = &budget;
  if (!RunDecompression(*decompression, bytes, header, row.data(), image.pixels.data())) {
    if (decompression->progress.too_many_scans) {
      return TooManyScans(decompression->jpeg.input_scan_number, header.pixels());
    }
    const bool at_end = decompression->errors.base.msg_code == JERR_INPUT_EOF;
    return ImageError(ImageFormat::kJpeg,
                      at_end ? "truncated" : std::string_view(decompression->errors.message));
  }
  if (decompression->size_differs) {
    return ImageError(ImageFormat::kJpeg, "its picture differs from its header");
  }
  return image;
}

}  // namespace llava::model
