#include "model/image/orientation.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using testing::ElementsAreArray;

// A block of one entry: orientation, as a SHORT.
std::string Exif(int orientation, bool big = false) {
  const auto number = [big](int value, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i) {
      out.push_back(static_cast<char>(value >> (8 * (big ? bytes - 1 - i : i))));
    }
    return out;
  };
  return std::string(big ? "MM" : "II") + number(42, 2) + number(8, 4) + number(1, 2) +
         number(0x112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + number(0, 2) +
         number(0, 4);
}

TEST(OrientationTest, ReadsExifOfBothByteOrders) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    EXPECT_EQ(ExifOrientation(Exif(orientation)), orientation);
    EXPECT_EQ(ExifOrientation(Exif(orientation, true)), orientation);
    EXPECT_EQ(ExifOrientation(std::string("Exif\0\0", 6) + Exif(orientation)), orientation);
  }
}

TEST(OrientationTest, ABrokenBlockSaysNothing) {
  const std::string whole = Exif(6);
  for (std::size_t size = 0; size < 18; ++size) {
    EXPECT_EQ(ExifOrientation(whole.substr(0, size)), 0) << size;
  }
  std::string circle = whole;
  circle[4] = '\xff';  // the directory lies outside
  EXPECT_EQ(ExifOrientation(circle), 0);
}

TEST(OrientationTest, ExifCountsBeforeXmpAndOnlyNumbersThatExist) {
  const std::string xmp = "<x tiff:Orientation=\"3\"/>";
  EXPECT_EQ(XmpOrientation(xmp), 3);
  EXPECT_EQ(CombineOrientations("", xmp), 3);
  EXPECT_EQ(CombineOrientations(Exif(6), xmp), 6);
  EXPECT_EQ(CombineOrientations("", ""), 1);
  EXPECT_EQ(CombineOrientations(Exif(9), ""), 1);
}

// Of an image of 2 x 3 pixels, whose red values are 0 to 5 row by row.
TEST(OrientationTest, TurnsAndMirrors) {
  const std::vector<int> expected[] = {{},
                                       {0, 1, 2, 3, 4, 5},
                                       {1, 0, 3, 2, 5, 4},
                                       {5, 4, 3, 2, 1, 0},
                                       {4, 5, 2, 3, 0, 1},
                                       {0, 2, 4, 1, 3, 5},
                                       {4, 2, 0, 5, 3, 1},
                                       {5, 3, 1, 4, 2, 0},
                                       {1, 3, 5, 0, 2, 4}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    RgbImage image{2, 3, {}};
    for (std::uint8_t i = 0; i < 6; ++i) image.pixels.insert(image.pixels.end(), {i, 0, 0});
    const RgbImage upright = ApplyOrientation(image, orientation);
    EXPECT_EQ(upright.width, orientation < 5 ? 2 : 3);
    std::vector<int> red;
    for (std::size_t i = 0; i < upright.pixels.size(); i += 3) red.push_back(upright.pixels[i]);
    EXPECT_THAT(red, ElementsAreArray(expected[orientation])) << orientation;
  }
}

}  // namespace
}  // namespace llava::model
