// The BMP half of model/image/formats.h.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/formats.h"
#include "tests/unit/model/image/image_data.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

using Pixels = std::vector<std::uint8_t>;

std::string U16(std::uint32_t value) {
  return {static_cast<char>(value), static_cast<char>(value >> 8)};
}
std::string U32(std::uint32_t value) { return U16(value) + U16(value >> 16); }

struct Bmp {
  std::int32_t width = 2;
  std::int32_t height = 2;
  std::uint32_t bits = 24;
  std::uint32_t compression = 0;
  std::uint32_t colours = 0;
  std::string between = "";  // masks or the palette
  std::string rows = "";
  std::uint32_t header_size = 40;

  std::string Bytes() const {
    const std::uint32_t offset = 54 + static_cast<std::uint32_t>(between.size());
    return "BM" + U32(0) + U32(0) + U32(offset) + U32(header_size) +
           U32(static_cast<std::uint32_t>(width)) + U32(static_cast<std::uint32_t>(height)) +
           U16(1) + U16(bits) + U32(compression) + U32(0) + U32(0) + U32(0) + U32(colours) +
           U32(0) + between + rows;
  }
};

absl::StatusOr<RgbImage> Decoded(const Bmp& bmp) {
  const std::string bytes = bmp.Bytes();
  const auto header = ProbeBmp(bytes);
  if (!header.ok()) return header.status();
  const ImageLimits limits;
  DecodeBudget budget(limits);
  return DecodeBmp(bytes, *header, budget);
}

std::string ErrorOfProbe(const Bmp& bmp) { return ErrorOf(ProbeBmp(bmp.Bytes())); }

// Blue, green, red; the lower row first; rows of whole words.
const std::string kRows = std::string("abcdef\0\0", 8) + std::string("ghijkl\0\0", 8);

TEST(BmpTest, RowsComeFromBelowUnlessTheHeightIsNegative) {
  EXPECT_EQ(Decoded({.rows = kRows})->pixels,
            (Pixels{'i', 'h', 'g', 'l', 'k', 'j', 'c', 'b', 'a', 'f', 'e', 'd'}));
  EXPECT_EQ(Decoded({.height = -2, .rows = kRows})->pixels,
            (Pixels{'c', 'b', 'a', 'f', 'e', 'd', 'i', 'h', 'g', 'l', 'k', 'j'}));
}

// 5 bits of each colour where no masks say otherwise: 31 becomes 255, 16 becomes 131.
TEST(BmpTest, SixteenBitsAreScaledAsPillowScalesThem) {
  const std::string rows = U16(0x7C00) + U16(0x0210) + U16(0x0010) + U16(0x8000);
  EXPECT_EQ(Decoded({.bits = 16, .rows = rows})->pixels,
            (Pixels{0, 0, 131, 0, 0, 0, 255, 0, 0, 0, 131, 131}));
  EXPECT_EQ(Decoded({.height = -2, .bits = 16, .rows = rows})->pixels,
            (Pixels{255, 0, 0, 0, 131, 131, 0, 0, 131, 0, 0, 0}));
  const std::string masks565 = U32(0xF800) + U32(0x07E0) + U32(0x001F);
  EXPECT_EQ(Decoded({.height = 1,
                     .bits = 16,
                     .compression = 3,
                     .between = masks565,
                     .rows = U16(0x07E0) + U16(0xF810)})
                ->pixels,
            (Pixels{0, 255, 0, 255, 0, 131}));
}

// Entry i of a palette is (10 * i, 10 * i + 1, 10 * i + 2): what the runs name shows as its red.
std::string Tens(int count) {
  std::string palette;
  for (int i = 0; i < count; ++i) {
    for (const int value : {10 * i + 2, 10 * i + 1, 10 * i, 0}) {
      palette += static_cast<char>(value);
    }
  }
  return palette;
}

std::vector<int> Reds(const absl::StatusOr<RgbImage>& image) {
  std::vector<int> reds;
  for (std::size_t i = 0; image.ok() && i < image->pixels.size(); i += 3) {
    EXPECT_EQ(image->pixels[i + 2], image->pixels[i] + 2);
    reds.push_back(image->pixels[i]);
  }
  return reds;
}

TEST(BmpTest, RunsOfEightBits) {
  const auto reds = [](const std::string& runs) {
    return Reds(Decoded(
        {.width = 3, .bits = 8, .compression = 1, .colours = 9, .between = Tens(9), .rows = runs}));
  };
  using Row = std::vector<int>;
  EXPECT_EQ(reds({3, 1, 0, 0, 3, 2, 0, 1}), (Row{20, 20, 20, 10, 10, 10}));
  EXPECT_EQ(reds({0, 3, 1, 2, 3, 0, 0, 0, 2, 4}), (Row{}));  // ends before its last pixel
  EXPECT_EQ(reds({0, 3, 1, 2, 3, 0, 0, 0, 2, 4, 1, 5}), (Row{40, 40, 50, 10, 20, 30}));
  EXPECT_EQ(reds({1, 1, 0, 0, 9, 2, 0, 1}), (Row{20, 20, 20, 10, 0, 0}));  // cut at the row's end
  EXPECT_EQ(reds({1, 1, 0, 2, 1, 1, 1, 7, 0, 1}), (Row{0, 0, 70, 10, 0, 0}));  // right 1, up 1
  EXPECT_EQ(reds({0, 2, 5, 5, 1, 7}), (Row{0, 0, 0, 0, 0, 0}));                // out of the picture
  EXPECT_EQ(reds({0, 1}), (Row{0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(reds({0, 8, 1, 2, 3, 4, 5, 6, 7, 8}), (Row{40, 50, 60, 10, 20, 30}));
}

TEST(BmpTest, RunsOfFourBits) {
  const auto reds = [](const std::string& runs) {
    return Reds(Decoded(
        {.width = 5, .height = 1, .bits = 4, .compression = 2, .between = Tens(16), .rows = runs}));
  };
  using Row = std::vector<int>;
  EXPECT_EQ(reds({5, 0x12}), (Row{10, 20, 10, 20, 10}));
  EXPECT_EQ(reds({0, 5, 0x12, 0x34, 0x50, 0}), (Row{10, 20, 30, 40, 50}));
  EXPECT_EQ(reds({0, 3, 0x12, 0x30, 2, 0x45}), (Row{10, 20, 30, 40, 50}));
}

TEST(BmpTest, WhatAPaletteDoesNotNameIsGrey) {
  EXPECT_EQ(Decoded({.height = 1,
                     .bits = 8,
                     .colours = 2,
                     .between = Tens(2),
                     .rows = std::string("\1\7\0\0", 4)})
                ->pixels,
            (Pixels{10, 11, 12, 7, 7, 7}));
}

// The offset of the pixels is 54, where the palette stands, as some programs write it.
TEST(BmpTest, PixelsAreNeverReadFromThePalette) {
  Bmp bmp{.height = 1, .bits = 8, .colours = 3, .between = Tens(3), .rows = {2, 1, 0, 0}};
  std::string bytes = bmp.Bytes();
  bytes[10] = 54;
  const auto header = ProbeBmp(bytes);
  ASSERT_TRUE(header.ok()) << header.status();
  const ImageLimits limits;
  DecodeBudget budget(limits);
  EXPECT_EQ(DecodeBmp(bytes, *header, budget)->pixels, (Pixels{20, 21, 22, 10, 11, 12}));
}

TEST(BmpTest, MasksAreBytesOrOneOfTwoPairs) {
  const auto with = [](std::uint32_t bits, const std::string& masks) {
    return Bmp{
        .height = 1, .bits = bits, .compression = 3, .between = masks, .rows = std::string(8, 'x')};
  };
  EXPECT_TRUE(ProbeBmp(with(32, U32(0xFF) + U32(0xFF00) + U32(0xFF000000)).Bytes()).ok());
  EXPECT_TRUE(ProbeBmp(with(32, U32(0) + U32(0) + U32(0)).Bytes()).ok());
  EXPECT_THAT(ErrorOfProbe(with(32, U32(0xFF0) + U32(0xFF00) + U32(0xFF0000))),
              HasSubstr("masks ff0, ff00, ff0000 with 32 bits"));
  EXPECT_THAT(ErrorOfProbe(with(16, U32(0xF000) + U32(0x0F00) + U32(0x00F0))), HasSubstr("masks"));
  EXPECT_THAT(ErrorOfProbe(with(24, U32(0xFF) + U32(0xFF00) + U32(0xFF0000))), HasSubstr("masks"));
}

TEST(BmpTest, WhatIsNotSupportedIsNamed) {
  EXPECT_THAT(ErrorOfProbe({.rows = kRows, .header_size = 41}), HasSubstr("a header of 41 bytes"));
  EXPECT_THAT(ErrorOfProbe({.compression = 4, .rows = kRows}), HasSubstr("compression 4 with 24"));
  EXPECT_THAT(ErrorOfProbe({.bits = 2, .rows = kRows}), HasSubstr("compression 0 with 2 bits"));
  const std::string palette(1024, 'p');
  const auto run_length = [&](std::int32_t height, std::uint32_t bits, std::uint32_t kind) {
    return ProbeBmp(
        Bmp{.height = height, .bits = bits, .compression = kind, .between = palette, .rows = "runs"}
            .Bytes());
  };
  EXPECT_TRUE(run_length(2, 8, 1).ok());
  EXPECT_TRUE(run_length(2, 4, 2).ok());
  EXPECT_FALSE(run_length(-2, 8, 1).ok());
  EXPECT_FALSE(run_length(-2, 4, 2).ok());
  EXPECT_FALSE(run_length(2, 4, 1).ok());
  const auto colours = [&](std::uint32_t count) {
    return ProbeBmp(Bmp{.bits = 8, .colours = count, .between = palette, .rows = kRows}.Bytes());
  };
  EXPECT_TRUE(colours(256).ok());
  EXPECT_THAT(ErrorOf(colours(257)), HasSubstr("a palette of 257 colours"));
}

TEST(BmpTest, SizesAndWhatTheFileHasOfRows) {
  EXPECT_THAT(ErrorOfProbe({.width = 0, .rows = kRows}), HasSubstr("its size is 0 x 2"));
  EXPECT_THAT(ErrorOfProbe({.width = -2, .rows = kRows}), HasSubstr("its size is -2 x 2"));
  EXPECT_THAT(ErrorOfProbe({.height = 0, .rows = kRows}), HasSubstr("its size is 2 x 0"));
  EXPECT_THAT(ErrorOfProbe({.height = INT32_MIN, .rows = kRows}), HasSubstr("its size"));
  EXPECT_THAT(ErrorOfProbe({.rows = kRows.substr(0, 15)}), HasSubstr("truncated"));
  EXPECT_THAT(ErrorOfProbe({.height = 3, .rows = kRows}), HasSubstr("truncated"));
  EXPECT_THAT(ErrorOfProbe({}), HasSubstr("truncated"));
  std::string inside = Bmp{.rows = kRows}.Bytes();
  inside[10] = 53;
  EXPECT_THAT(ErrorOf(ProbeBmp(inside)), HasSubstr("truncated"));
  EXPECT_THAT(ErrorOf(ProbeBmp(inside.substr(0, 50))), HasSubstr("truncated in its header"));
}

}  // namespace
}  // namespace llava::model
