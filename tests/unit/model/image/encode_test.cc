#include "model/image/encode.h"

#include <cstdint>
#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/image.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

RgbImage Gradient(int width, int height) {
  RgbImage image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (const int value : {4 * x, 5 * y, 100 + x - y}) {
        image.pixels.push_back(static_cast<std::uint8_t>(value));
      }
    }
  }
  return image;
}

TEST(EncodeTest, APngIsReadBackAsItWas) {
  for (const auto& [width, height] : {std::pair(31, 17), std::pair(1, 1), std::pair(1, 40)}) {
    const RgbImage image = Gradient(width, height);
    const auto bytes = EncodePng(image);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const auto read = DecodeImage(*bytes);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->width, width);
    EXPECT_EQ(read->pixels, image.pixels);
  }
}

int LargestDifference(const RgbImage& image, int quality) {
  const auto bytes = EncodeJpeg(image, quality);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  const auto read = DecodeImage(bytes.value());
  EXPECT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->pixels.size(), image.pixels.size());
  int largest = 0;
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    largest = std::max(largest, std::abs(int{image.pixels[i]} - int{read->pixels[i]}));
  }
  return largest;
}

TEST(EncodeTest, AJpegIsCloserTheHigherItsQuality) {
  const RgbImage image = Gradient(48, 33);
  EXPECT_LE(LargestDifference(image, 98), 8);
  EXPECT_GT(LargestDifference(image, 5), 8);
  EXPECT_LT(EncodeJpeg(image, 5)->size(), EncodeJpeg(image, 98)->size());
  EXPECT_EQ(*EncodeJpeg(image, 50), *EncodeJpeg(image, 50));
}

TEST(EncodeTest, RefusesWhatIsNoPicture) {
  EXPECT_THAT(EncodePng({0, 1, {}}).status().message(), HasSubstr("0 x 1"));
  EXPECT_THAT(EncodePng({2, 1, {1, 2, 3}}).status().message(), HasSubstr("2 x 1 with 3 bytes"));
  EXPECT_THAT(EncodeJpeg({65536, 1, {}}, 90).status().message(), HasSubstr("65536 x 1"));
  EXPECT_THAT(EncodeJpeg(Gradient(2, 2), 0).status().message(), HasSubstr("quality of 0"));
  EXPECT_THAT(EncodeJpeg(Gradient(2, 2), 101).status().message(), HasSubstr("quality of 101"));
  // libjpeg's own limit is below ours.
  EXPECT_THAT(EncodeJpeg(Gradient(65535, 1), 90).status().message(), HasSubstr("65535 x 1"));
}

}  // namespace
}  // namespace llava::model
