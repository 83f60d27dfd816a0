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
