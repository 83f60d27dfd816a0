// The JPEG half of model/image/formats.h.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/formats.h"
#include "tests/unit/model/image/image_data.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

TEST(JpegTest, FaultsOfHeadersAreNamed) {
  EXPECT_THAT(ErrorOf(ProbeJpeg("\xff\xd8\xff\xd9")), HasSubstr("before its frame header"));
  const std::string jpeg = ImageData("rgb_420.jpg");
  const std::size_t frame = jpeg.find("\xff\xc0");
  std::string wrong = jpeg;
  wrong[frame + 1] = '\xc3';
  EXPECT_THAT(ErrorOf(ProbeJpeg(wrong)), HasSubstr("FFc3"));
  wrong = jpeg;
  wrong[frame + 4] = 12;
  EXPECT_THAT(ErrorOf(ProbeJpeg(wrong)), HasSubstr("12 bits"));
  wrong = jpeg;
  wrong[frame + 9] = 2;
  EXPECT_THAT(ErrorOf(ProbeJpeg(wrong)), HasSubstr("2 components"));
  wrong = jpeg;
  wrong[3] = '\xe0';
  wrong[4] = wrong[5] = '\xff';
  EXPECT_THAT(ErrorOf(ProbeJpeg(wrong)), HasSubstr("truncated"));
}

// A segment: marker, length, content.
std::string Segment(char marker, const std::string& content) {
  const std::size_t length = content.size() + 2;
  return std::string("\xff") + marker + static_cast<char>(length >> 8) + static_cast<char>(length) +
         content;
}

// `jpeg` with segments behind its SOI.
std::string With(const std::string& segments, const std::string& jpeg) {
  return jpeg.substr(0, 2) + segments + jpeg.substr(2);
}

// EXIF with an orientation as its only entry.
std::string Tiff(char orientation) {
  const std::string before("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", 18);
  return before + orientation + std::string(7, '\0');
}

const std::string kExif("Exif\0\0", 6);

TEST(JpegTest, OrientationFromExifInOneSegmentOrTwo) {
  const std::string jpeg = ImageData("rgb_420.jpg");
  EXPECT_EQ(ProbeJpeg(jpeg)->orientation, 1);
  EXPECT_EQ(ProbeJpeg(With(Segment('\xe1', kExif + Tiff(6)), jpeg))->orientation, 6);
  const std::string halves =
      Segment('\xe1', kExif + Tiff(8).substr(0, 10)) + Segment('\xe1', kExif + Tiff(8).substr(10));
  EXPECT_EQ(ProbeJpeg(With(halves, jpeg))->orientation, 8);
  // Another application's segment says nothing.
  EXPECT_EQ(ProbeJpeg(With(Segment('\xe2', kExif + Tiff(6)), jpeg))->orientation, 1);
}

TEST(JpegTest, OneFrameHeaderAndNoTableTakenForOne) {
  const std::string jpeg = ImageData("rgb_420.jpg");
  const std::size_t frame = jpeg.find("\xff\xc0");
  const std::size_t bytes = static_cast<unsigned char>(jpeg[frame + 3]) + 2;
  const std::string twice = jpeg.substr(0, frame) + jpeg.substr(frame, bytes) + jpeg.substr(frame);
  EXPECT_THAT(ErrorOf(ProbeJpeg(twice)), HasSubstr("two frame headers"));
  // Huffman tables, of which each file has some, begin with a marker between those of frames.
  EXPECT_TRUE(ProbeJpeg(With(Segment('\xc4', "table"), jpeg)).ok());
  EXPECT_TRUE(ProbeJpeg(With(Segment('\xcc', "arithmetic"), jpeg)).ok());
  EXPECT_THAT(ErrorOf(ProbeJpeg(With(Segment('\xc7', "lossless"), jpeg))), HasSubstr("FFc7"));
}

TEST(JpegTest, FillBytesAndMarkersWithoutLengthAreSteppedOver) {
  const std::string jpeg = ImageData("rgb_420.jpg");
  EXPECT_EQ(ProbeJpeg(With("\xff\xff\xff\xd0\xff\x01", jpeg))->width, 37);
  EXPECT_THAT(ErrorOf(ProbeJpeg(With(std::string("\xff\xe5\0\x01", 4), jpeg))),
              HasSubstr("a segment without a length"));
}

TEST(JpegTest, AnImageMayHave100ScansAndNotOneMore) {
  const std::string whole = ImageData("progressive.jpg");
  const std::string start = whole.substr(0, whole.rfind("\xff\xda"));
  std::size_t scans = 0;
  for (std::size_t at = start.find("\xff\xda"); at != start.npos;
       at = start.find("\xff\xda", at + 1)) {
    ++scans;
  }
  const std::string scan("\xff\xda\0\x08\x01\x01\0\x01\x01\0\0\0", 12);
  const auto decoded = [&](std::size_t count) {
    std::string jpeg = start;
    for (std::size_t i = scans; i < count; ++i) jpeg += scan;
    jpeg += "\xff\xd9";
    const ImageLimits limits;
    DecodeBudget budget(limits);
    return DecodeJpeg(jpeg, *ProbeJpeg(jpeg), budget);
  };
  EXPECT_THAT(ErrorOf(decoded(101)), HasSubstr("it has 101 scans of 851 pixels"));
  const auto most = decoded(100);
  EXPECT_TRUE(most.ok() || ErrorOf(most).find("scans") == std::string::npos) << most.status();
}

TEST(JpegTest, AHeaderThatIsNotTheFilesOwnIsAnError) {
  const std::string jpeg = ImageData("rgb_420.jpg");
  ImageHeader header = *ProbeJpeg(jpeg);
  header.width = 36;
  const ImageLimits limits;
  DecodeBudget budget(limits);
  EXPECT_THAT(ErrorOf(DecodeJpeg(jpeg, header, budget)), HasSubstr("differs from its header"));
}

}  // namespace
}  // namespace llava::model
