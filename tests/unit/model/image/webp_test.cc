// The WebP half of model/image/formats.h.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/formats.h"
#include "tests/unit/model/image/image_data.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(WebpTest, FaultsOfContainersAreNamed) {
  const std::string part = ImageData("animated_part.webp");
  EXPECT_THAT(ErrorOf(ProbeWebp(part.substr(0, 60))), HasSubstr("truncated"));
  std::string outside = part;
  const std::size_t frame = outside.find("ANMF");
  outside[frame + 8] = 100;  // half of the left edge
  EXPECT_THAT(ErrorOf(ProbeWebp(outside)),
              AllOf(HasSubstr("canvas of 37 x 23"), HasSubstr("11 x 9")));
  std::string hollow = part;
  hollow.replace(hollow.find("VP8L"), 4, "ALPH");
  EXPECT_THAT(ErrorOf(ProbeWebp(hollow)), HasSubstr("no picture"));
}

// A chunk, padded to an even number of bytes.
std::string Chunk(const std::string& type, const std::string& data) {
  std::string out = type;
  for (int shift = 0; shift < 32; shift += 8) {
    out.push_back(static_cast<char>(data.size() >> shift));
  }
  return out + data + std::string(data.size() % 2, '\0');
}

std::string Riff(const std::string& chunks) { return Chunk("RIFF", "WEBP" + chunks); }

// A header with flags and the canvas of the pictures here, 37 x 23.
std::string Extended(char flags, char width = 36, char height = 22) {
  return Chunk("VP8X", std::string(1, flags) + std::string(3, '\0') + width + std::string(2, '\0') +
                           height + std::string(2, '\0'));
}

// The one chunk of a plain file.
std::string Picture() { return ImageData("lossless.webp").substr(12); }

absl::StatusOr<RgbImage> Decoded(const std::string& webp) {
  const auto header = ProbeWebp(webp);
  if (!header.ok()) return header.status();
  const ImageLimits limits;
  DecodeBudget budget(limits);
  return DecodeWebp(webp, *header, budget);
}

TEST(WebpTest, TheContainerSaysWhatStandsBesideThePicture) {
  const auto plain = ProbeWebp(Riff(Picture()));
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(*plain, (ImageHeader{ImageFormat::kWebp, 37, 23, 3, 8, 1}));
  EXPECT_EQ(ProbeWebp(Riff(Extended(0x10) + Picture()))->channels, 4);
  const std::string exif("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", 26);
  EXPECT_EQ(ProbeWebp(Riff(Extended(0) + Picture() + Chunk("EXIF", exif)))->orientation, 6);
  const std::string xmp = "<x tiff:Orientation=\"8\"/> ";
  EXPECT_EQ(ProbeWebp(Riff(Extended(0) + Picture() + Chunk("XMP ", xmp)))->orientation, 8);
  EXPECT_EQ(Decoded(Riff(Extended(0x10) + Picture()))->pixels, Decoded(Riff(Picture()))->pixels);
}

TEST(WebpTest, ThePictureFillsItsCanvas) {
  EXPECT_THAT(ErrorOf(ProbeWebp(Riff(Extended(0, 37) + Picture()))),
              AllOf(HasSubstr("canvas of 38 x 23"), HasSubstr("picture of 37 x 23")));
  EXPECT_THAT(ErrorOf(ProbeWebp(Riff(Extended(0, 36, 21) + Picture()))),
              HasSubstr("canvas of 37 x 22"));
}

// Its place is counted in steps of two pixels; what is beside it is black.
TEST(WebpTest, TheFirstFrameOfAnAnimationLiesOnItsCanvas) {
  const auto frame = [](char left, char top) {
    return Chunk("ANMF", std::string(1, left) + std::string(2, '\0') + top + std::string(12, '\0') +
                             Picture());
  };
  const std::string animation = Riff(Extended(0x02, 40, 24) + frame(2, 1) + frame(0, 0));
  const auto image = Decoded(animation);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->width, 41);
  EXPECT_EQ(image->height, 25);
  const auto plain = Decoded(Riff(Picture()));
  const auto pixel = [](const RgbImage& of, int x, int y) {
    const auto at = of.pixels.begin() + 3 * (y * of.width + x);
    return std::vector<std::uint8_t>(at, at + 3);
  };
  EXPECT_EQ(pixel(*image, 4, 2), pixel(*plain, 0, 0));
  EXPECT_EQ(pixel(*image, 40, 24), pixel(*plain, 36, 22));
  EXPECT_EQ(pixel(*image, 3, 2), std::vector<std::uint8_t>(3, 0));
  EXPECT_EQ(pixel(*image, 4, 1), std::vector<std::uint8_t>(3, 0));
  EXPECT_THAT(ErrorOf(ProbeWebp(Riff(Extended(0x02, 40, 24) + frame(3, 1)))), HasSubstr("differs"));
  EXPECT_THAT(ErrorOf(ProbeWebp(Riff(Extended(0x02, 40, 24) + frame(2, 2)))), HasSubstr("differs"));
}

TEST(WebpTest, FilesThatEndTooEarly) {
  const std::string whole = Riff(Picture());
  EXPECT_THAT(ErrorOf(ProbeWebp(whole.substr(0, whole.size() - 2))), HasSubstr("truncated"));
  EXPECT_TRUE(ProbeWebp(whole + "more").ok());
  EXPECT_THAT(ErrorOf(ProbeWebp(Riff(""))), HasSubstr("it has no picture"));
  EXPECT_THAT(ErrorOf(ProbeWebp(Riff(Chunk("VP8X", "short")))), HasSubstr("VP8X"));
  EXPECT_THAT(ErrorOf(ProbeWebp(Riff(Chunk("VP8L", "/")))), HasSubstr("its picture's header"));
  EXPECT_THAT(ErrorOf(ProbeWebp(Riff(Chunk("VP8L", "wrong")))), HasSubstr("is wrong"));
}

}  // namespace
}  // namespace llava::model
