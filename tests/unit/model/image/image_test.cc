#include "model/image/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/rng.h"

namespace llava::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::filesystem::path kImages = "tests/unit/model/image/data/images";

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// What Pillow made of an image; see data/images/make_images.py.
struct Expected {
  std::string name;
  int width = 0;
  int height = 0;
  std::string sha256;
};

std::vector<Expected> ReadExpected() {
  std::ifstream in(kImages / "expected.txt");
  std::vector<Expected> all;
  for (Expected one; in >> one.name >> one.width >> one.height >> one.sha256;) all.push_back(one);
  return all;
}

std::string HashOf(const RgbImage& image) {
  return Sha256Of({reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size()}).Hex();
}

int LargestDifference(const RgbImage& a, const RgbImage& b) {
  if (a.pixels.size() != b.pixels.size()) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  }
  return largest;
}

std::string ErrorOfDecoding(std::string_view bytes, const ImageLimits& limits = {}) {
  const absl::Status status = DecodeImage(bytes, limits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

// A PNG header of that size, and a few bytes where its image should be.
std::string PngClaiming(std::uint32_t width, std::uint32_t height) {
  std::string png = ReadFile(kImages / "rgb8.png");
  for (int i = 0; i < 4; ++i) {
    png[16 + i] = static_cast<char>(width >> (24 - 8 * i));
    png[20 + i] = static_cast<char>(height >> (24 - 8 * i));
  }
  const auto sum = crc32_z(0, reinterpret_cast<const Bytef*>(png.data()) + 12, 17);
  for (int i = 0; i < 4; ++i) png[29 + i] = static_cast<char>(sum >> (24 - 8 * i));
  return png;
}

TEST(ImageTest, EveryKindOfImageBecomesWhatPillowMakesOfIt) {
  const auto all = ReadExpected();
  ASSERT_GT(all.size(), 80u);
  for (const Expected& expected : all) {
    SCOPED_TRACE(expected.name);
    const std::string file = ReadFile(kImages / expected.name);
    const auto image = DecodeImage(file);
    ASSERT_TRUE(image.ok()) << image.status();
    const auto header = ProbeImage(file);
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->upright_size(), (ImageSize{expected.width, expected.height}));
    EXPECT_EQ(image->width, expected.width);
    EXPECT_EQ(image->height, expected.height);
    if (expected.name.ends_with(".jpg")) {  // inverse transforms may differ by a level
      const auto pillow = DecodeImage(ReadFile(kImages / (expected.name + ".expected.png")));
      ASSERT_TRUE(pillow.ok()) << pillow.status();
      EXPECT_EQ(HashOf(*pillow), expected.sha256);
      EXPECT_LE(LargestDifference(*image, *pillow), 1);
    } else {
      EXPECT_EQ(HashOf(*image), expected.sha256);
    }
  }
}

TEST(ImageTest, TheHeaderSaysWhatTheImageIs) {
  const auto probe = [](const char* name) { return ProbeImage(ReadFile(kImages / name)).value(); };
  EXPECT_EQ(probe("rgb_420.jpg"), (ImageHeader{ImageFormat::kJpeg, 37, 23, 3, 8, 1}));
  EXPECT_EQ(probe("cmyk.jpg"), (ImageHeader{ImageFormat::kJpeg, 37, 23, 4, 8, 1}));
  EXPECT_EQ(probe("exif6.jpg"), (ImageHeader{ImageFormat::kJpeg, 37, 23, 3, 8, 6}));
  EXPECT_EQ(probe("grey16.png"), (ImageHeader{ImageFormat::kPng, 37, 23, 1, 16, 1}));
  EXPECT_EQ(probe("exif8_after.png"), (ImageHeader{ImageFormat::kPng, 37, 23, 3, 8, 8}));
  EXPECT_EQ(probe("palette2.png"), (ImageHeader{ImageFormat::kPng, 37, 23, 1, 2, 1}));
  EXPECT_EQ(probe("lossless_alpha.webp"), (ImageHeader{ImageFormat::kWebp, 37, 23, 4, 8, 1}));
  EXPECT_EQ(probe("xmp8.webp"), (ImageHeader{ImageFormat::kWebp, 37, 23, 3, 8, 8}));
  EXPECT_EQ(probe("top_down24.bmp"), (ImageHeader{ImageFormat::kBmp, 37, 23, 3, 8, 1}));
  EXPECT_EQ(probe("part.gif"), (ImageHeader{ImageFormat::kGif, 37, 23, 1, 8, 1}));
  EXPECT_EQ(probe("larger_than_screen.gif"), (ImageHeader{ImageFormat::kGif, 42, 60, 1, 8, 1}));
  EXPECT_EQ(probe("animated_part.webp"), (ImageHeader{ImageFormat::kWebp, 37, 23, 3, 8, 1}));
}

TEST(ImageTest, LimitsAreCheckedBeforeAnythingIsDecoded) {
  const std::string small = ReadFile(kImages / "rgb8.png");
  EXPECT_THAT(ErrorOfDecoding(small, {.max_bytes = 100}),
              AllOf(HasSubstr("PNG"), HasSubstr("the limit is 100")));
  EXPECT_THAT(ErrorOfDecoding(small, {.max_pixels = 850}),
              AllOf(HasSubstr("37 x 23 = 851 pixels"), HasSubstr("the limit of 850")));
  EXPECT_TRUE(DecodeImage(small, {.max_bytes = small.size(), .max_pixels = 851}).ok());
  // Bombs: the memory for these would not be there.
  EXPECT_THAT(ErrorOfDecoding(PngClaiming(2'000'000'000, 2'000'000'000)),
              HasSubstr("4000000000000000000 pixels"));
  EXPECT_THAT(ErrorOfDecoding(PngClaiming(50'000'001, 1)), HasSubstr("more than the limit"));
  EXPECT_THAT(ErrorOfDecoding(PngClaiming(65536, 2)), HasSubstr("longest side supported is 65535"));
  std::string jpeg = ReadFile(kImages / "rgb_420.jpg");
  const std::size_t frame = jpeg.find("\xff\xc0");
  jpeg.replace(frame + 5, 4, "\xff\xff\xff\xff");
  EXPECT_THAT(ErrorOfDecoding(jpeg), HasSubstr("65535 x 65535"));
}

TEST(ImageTest, AHeaderThatLiesIsAnError) {
  EXPECT_THAT(ErrorOfDecoding(PngClaiming(37, 24)), HasSubstr("truncated"));
  EXPECT_THAT(ErrorOfDecoding(PngClaiming(0, 5)), HasSubstr("its size is 0 x 5"));
  std::string webp = ReadFile(kImages / "lossy_alpha.webp");
  webp[24] = 99;  // canvas width - 1
  EXPECT_THAT(ErrorOfDecoding(webp), HasSubstr("canvas of 100 x 23 differs"));
  std::string bmp = ReadFile(kImages / "rgb24.bmp");
  bmp[22] = 24;
  EXPECT_THAT(ErrorOfDecoding(bmp), HasSubstr("truncated"));
}

TEST(ImageTest, OtherFormatsAreNamed) {
  const std::pair<std::string, const char*> cases[] = {
      {std::string("II*\0\x08\0\0\0", 8), "a TIFF picture"},
      {std::string("MM\0*\0\0\0\x08", 8), "a TIFF picture"},
      {std::string("\0\0\0\x1c"
                   "ftypavif\0\0\0\0",
                   16),
       "an AVIF picture"},
      {std::string("\0\0\0\x18"
                   "ftypheic\0\0\0\0",
                   16),
       "a HEIC picture"},
      {"\xff\x0a....", "a JPEG XL picture"},
      {"  <?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG picture"},
      {"<!DOCTYPE html><html></html>", "an HTML page"},
      {"data:image/png;base64,iVBORw0KGgo=", "a data: URL"},
      {"what is in the picture?", "text"},
      {"%PDF-1.7", "a PDF document"},
      {"P6\n2 2\n255\n", "a PNM picture"},
      {"RIFF....WAVEfmt ", "a WAV sound"},
      {"", "no bytes at all"},
      {"\x01\x02\x03", "an unknown format that begins with the bytes 01 02 03"},
  };
  for (const auto& [bytes, name] : cases) {
    EXPECT_THAT(ErrorOfDecoding(bytes), AllOf(HasSubstr(name), HasSubstr("expected")));
  }
}

TEST(ImageTest, AnAnimationWithoutAFrameIsAnError) {
  std::string webp = ReadFile(kImages / "lossy_alpha.webp");
  webp[20] = static_cast<char>(webp[20] | 0x02);
  EXPECT_THAT(ErrorOfDecoding(webp), HasSubstr("it has no picture"));
  const std::string gif = ReadFile(kImages / "animated.gif");
  EXPECT_THAT(ErrorOfDecoding(gif.substr(0, 13)), HasSubstr("GIF"));
}

// Some zeros, deflated.
std::string Deflated(std::size_t zeros) {
  const std::string raw(zeros, '\0');
  uLongf size = compressBound(raw.size());
  std::string out(size, '\0');
  compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(raw.data()),
            raw.size(), Z_BEST_COMPRESSION);
  return out.substr(0, size);
}

std::string PngChunk(const std::string& type, const std::string& data) {
  const auto put = [](std::size_t number) {
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(number >> shift));
    return out;
  };
  const std::string body = type + data;
  return put(data.size()) + body +
         put(crc32_z(0, reinterpret_cast<const Bytef*>(body.data()), body.size()));
}

// A PNG whose first row comes after so many bytes of blocks that inflate to nothing.
std::string PngOfEmptyBlocks(std::size_t bytes) {
  std::string data("\x78\x01", 2);
  while (data.size() < bytes) data += std::string("\0\0\0\xff\xff", 5);
  return ReadFile(kImages / "rgb8.png").substr(0, 33) + PngChunk("IDAT", data) +
         PngChunk("IEND", "");
}

// Image data after the last row is not inflated: it is damaged here, which nobody notices.
TEST(ImageTest, WhatComesAfterTheLastRowOfAPngIsNotRead) {
  const std::string rows = Deflated(37 * 3 * 23 + 23);
  const std::string more = rows + std::string(100'000, '\x5a');
  const std::string header = ReadFile(kImages / "rgb8.png").substr(0, 33);
  const auto image =
      DecodeImage(header + PngChunk("IDAT", more) + PngChunk("IDAT", more) + PngChunk("IEND", ""));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->pixels, std::vector<std::uint8_t>(37 * 3 * 23));
}

// Each scan costs what the image has of pixels: a file of 105 kB may have 99 of 50 million.
std::string JpegOfScans(int scans, int side) {
  std::string jpeg = ReadFile(kImages / "progressive.jpg");
  const std::size_t frame = jpeg.find("\xff\xc2");
  for (const std::size_t at : {frame + 5, frame + 7}) {
    jpeg[at] = static_cast<char>(side >> 8);
    jpeg[at + 1] = static_cast<char>(side);
  }
  jpeg.resize(jpeg.rfind("\xff\xda"));
  // A scan of luminance coefficient 1 at its highest bit: at once a run of blocks without any.
  const std::string scan("\xff\xda\0\x08\x01\x01\0\x01\x01\0\0\0", 12);
  for (int i = 0; i < scans; ++i) jpeg += scan;
  return jpeg + "\xff\xd9";
}

TEST(ImageTest, ScansOfAJpegCountWithTheirPixels) {
  EXPECT_THAT(ErrorOfDecoding(JpegOfScans(200, 64)), HasSubstr("too long"));
  EXPECT_THAT(ErrorOfDecoding(JpegOfScans(30, 7000)), HasSubstr("too long"));
}

constexpr const char* kOneOfEachKind[] = {"rgb_420.jpg", "progressive.jpg",       "cmyk.jpg",
                                          "rgb8.png",    "grey16_interlaced.png", "palette.gif",
                                          "lossy.webp",  "lossless_alpha.webp",   "rgb24.bmp"};

TEST(ImageTest, ATimeBudgetEndsWhatIsSlow) {
  for (const char* name : kOneOfEachKind) {
    const std::string whole = ReadFile(kImages / name);
    EXPECT_THAT(ErrorOfDecoding(whole, {.max_cpu_time = Duration(-1)}),
                AllOf(HasSubstr("too long"), HasSubstr("the limit is")))
        << name;
  }
}

// Whatever the reader of the format is doing when it is told.
TEST(ImageTest, DecodingStopsWhenItIsTold) {
  for (const char* name : kOneOfEachKind) {
    const std::string whole = ReadFile(kImages / name);
    int looks = 0;
    const auto count = [&looks] { return ++looks, absl::OkStatus(); };
    ASSERT_TRUE(DecodeImage(whole, {.stop = count}).ok()) << name;
    ASSERT_GT(looks, 0) << name;
    for (int last = 1; last <= looks; ++last) {
      int asked = 0;
      const auto stop = [&] {
        return ++asked == last ? absl::CancelledError("gone") : absl::OkStatus();
      };
      EXPECT_EQ(DecodeImage(whole, {.stop = stop}).status(), absl::CancelledError("gone"))
          << name << " at look " << last;
      EXPECT_EQ(asked, last) << name;
    }
  }
}

// Between two rows: 8 MiB of codes that clear the table, and of blocks that inflate to nothing.
TEST(ImageTest, DecodingStopsWithinARow) {
  constexpr std::size_t kBytes = std::size_t{8} << 20;
  std::string gif("GIF89a\x08\0\x08\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x08\0\x08\0\0\x02", 30);
  while (gif.size() < kBytes) {
    gif += '\xff';
    for (int i = 0; i < 85; ++i) gif += "\x24\x49\x92";  // 3 bits each: 4, which clears
  }
  const std::string png = PngOfEmptyBlocks(kBytes);
  for (const std::string& picture : {gif, png}) {
    int looks = 0;
    const auto stop = [&looks] {
      return ++looks == 20 ? absl::CancelledError("gone") : absl::OkStatus();
    };
    EXPECT_EQ(DecodeImage(picture, {.stop = stop}).status(), absl::CancelledError("gone"));
    EXPECT_EQ(looks, 20);
  }
}

TEST(ImageTest, ATruncatedImageIsAnErrorUnlessAllItsPixelsAreThere) {
  for (const char* name :
       {"rgb_420.jpg", "progressive.jpg", "cmyk.jpg", "rgb8.png", "palette4.png", "grey16.png",
        "lossy.webp", "lossless_alpha.webp", "rgb24.bmp", "masks565_v4.bmp", "palette.gif"}) {
    SCOPED_TRACE(name);
    const std::string whole = ReadFile(kImages / name);
    for (std::size_t size = 0; size < whole.size(); size += size < 64 ? 1 : 13) {
      const auto image = DecodeImage(std::string_view(whole).substr(0, size));
      // A PNG's last pixels come before check sums and IEND, 20 bytes; a GIF's before the ends of
      // its blocks and of the file, 2 bytes.
      const std::size_t behind = std::string(name).ends_with(".png")   ? 20
                                 : std::string(name).ends_with(".gif") ? 2
                                                                       : 0;
      if (behind > 0 && size + behind >= whole.size()) {
        EXPECT_TRUE(!image.ok() || image->pixels == DecodeImage(whole)->pixels) << size;
        continue;
      }
      EXPECT_FALSE(image.ok()) << size;
    }
  }
}

TEST(ImageTest, DamagedImagesNeverCrashAndKeepTheirSize) {
  constexpr std::uint64_t kSeed = 20;
  SCOPED_TRACE(kSeed);
  Rng rng(kSeed);
  const ImageLimits limits{.max_pixels = 1 << 16};
  for (const Expected& expected : ReadExpected()) {
    const std::string whole = ReadFile(kImages / expected.name);
    for (int round = 0; round < 20; ++round) {
      std::string damaged = whole;
      for (std::int64_t n = rng.Between(1, 4); n > 0; --n) {
        damaged[rng.Below(damaged.size())] = static_cast<char>(rng.Below(256));
      }
      const auto image = DecodeImage(damaged, limits);
      if (!image.ok()) {
        EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument) << image.status();
        continue;
      }
      ASSERT_EQ(image->pixels.size(), std::size_t{3} * image->width * image->height);
    }
  }
}

}  // namespace
}  // namespace llava::model
