// The PNG half of model/image/formats.h.
#include <zlib.h>

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/formats.h"
#include "tests/unit/model/image/image_data.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

TEST(PngTest, FaultsOfHeadersAreNamed) {
  std::string wrong = ImageData("rgb8.png");
  wrong[20] = 1;  // without a new check sum
  EXPECT_THAT(ErrorOf(ProbePng(wrong)), HasSubstr("IHDR"));
  EXPECT_THAT(ErrorOf(ProbePng(ImageData("rgb8.png").substr(0, 20))), HasSubstr("truncated"));
}

std::string Number(std::uint32_t number) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(number >> shift));
  return out;
}

std::string Chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const auto* bytes = reinterpret_cast<const Bytef*>(body.data());
  return Number(static_cast<std::uint32_t>(data.size())) + body +
         Number(static_cast<std::uint32_t>(crc32_z(0, bytes, body.size())));
}

// The signature and an IHDR for 2 x 1 pixels.
std::string Start(char depth, char colour, char interlace = 0) {
  return std::string(kPngSignature) +
         Chunk("IHDR", Number(2) + Number(1) + depth + colour + std::string(2, '\0') + interlace);
}

std::string Deflated(const std::string& rows) {
  uLongf size = compressBound(rows.size());
  std::string out(size, '\0');
  compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(rows.data()),
           rows.size());
  return out.substr(0, size);
}

absl::StatusOr<RgbImage> Decoded(const std::string& png) {
  const auto header = ProbePng(png);
  if (!header.ok()) return header.status();
  const ImageLimits limits;
  DecodeBudget budget(limits);
  return DecodePng(png, *header, budget);
}

using Pixels = std::vector<std::uint8_t>;

TEST(PngTest, EachColourTypeHasItsDepths) {
  const std::pair<char, std::string> allowed[] = {
      {0, {1, 2, 4, 8, 16}}, {2, {8, 16}}, {3, {1, 2, 4, 8}}, {4, {8, 16}}, {6, {8, 16}}};
  for (const auto& [colour, depths] : allowed) {
    for (const char depth : std::string{0, 1, 2, 3, 4, 8, 16, 32}) {
      EXPECT_EQ(ProbePng(Start(depth, colour)).ok(), depths.find(depth) != depths.npos)
          << int{colour} << " " << int{depth};
    }
  }
  EXPECT_FALSE(ProbePng(Start(8, 1)).ok());
  EXPECT_TRUE(ProbePng(Start(8, 2, 1)).ok());
  EXPECT_THAT(ErrorOf(ProbePng(Start(8, 2, 2))), HasSubstr("interlace 2"));
}

TEST(PngTest, GreyBecomesColour) {
  EXPECT_EQ(Decoded(Start(8, 0) + Chunk("IDAT", Deflated(std::string("\0\x07\xc8", 3))))->pixels,
            (Pixels{7, 7, 7, 200, 200, 200}));
  // 16 bits are clipped, as Pillow's mode I;16 is.
  const std::string wide("\0\0\x07\x02\xc8", 5);
  EXPECT_EQ(Decoded(Start(16, 0) + Chunk("IDAT", Deflated(wide)))->pixels,
            (Pixels{7, 7, 7, 255, 255, 255}));
}

TEST(PngTest, APaletteIsNeeded) {
  const std::string pixels = Chunk("IDAT", Deflated(std::string("\0\x01\0", 3)));
  EXPECT_THAT(ErrorOf(Decoded(Start(8, 3) + pixels)), HasSubstr("it has no palette"));
  EXPECT_EQ(Decoded(Start(8, 3) + Chunk("PLTE", "abcdef") + pixels)->pixels,
            (Pixels{'d', 'e', 'f', 'a', 'b', 'c'}));
}

TEST(PngTest, ChunksThatMatterMustBeKnownAndSound) {
  const std::string pixels = Chunk("IDAT", Deflated(std::string("\0\x07\xc8", 3)));
  EXPECT_TRUE(Decoded(Start(8, 0) + Chunk("teXt", "passed over") + pixels).ok());
  EXPECT_THAT(ErrorOf(Decoded(Start(8, 0) + Chunk("TEXT", "") + pixels)),
              HasSubstr("its chunk TEXT is critical and not known"));
  std::string damaged = pixels;
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  EXPECT_THAT(ErrorOf(Decoded(Start(8, 0) + damaged)), HasSubstr("check sum of its IDAT"));
}

// Its rows may be all there, without IEND and without the sum of what was compressed.
TEST(PngTest, AFileThatIsCutAfterItsRowsIsWhole) {
  const std::string rows = Deflated(std::string("\0\x07\xc8", 3));
  const std::string whole = Start(8, 0) + Chunk("IDAT", rows);
  EXPECT_TRUE(Decoded(whole.substr(0, whole.size() - 8)).ok());
  EXPECT_TRUE(Decoded(whole + "\0\0").ok());
  // With IEND nothing may be missing.
  const std::string cut = Chunk("IDAT", rows.substr(0, 3)) + Chunk("IEND", "");
  EXPECT_THAT(ErrorOf(Decoded(Start(8, 0) + cut)), HasSubstr("truncated"));
}

TEST(PngTest, OrientationFromExifOrXmp) {
  const std::string exif("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", 26);
  EXPECT_EQ(ProbePng(Start(8, 0) + Chunk("eXIf", exif))->orientation, 6);
  const auto xmp = [](const std::string& head) {
    return Start(8, 0) + Chunk("iTXt", head + "<x tiff:Orientation=\"8\"/>");
  };
  const std::string keyword("XML:com.adobe.xmp\0", 18);
  EXPECT_EQ(ProbePng(xmp(keyword + std::string("\0\0\0\0", 4)))->orientation, 8);
  EXPECT_EQ(ProbePng(xmp(keyword + std::string("\0\0en\0title\0", 11)))->orientation, 8);
  EXPECT_EQ(ProbePng(xmp(keyword + std::string("\x01\0\0\0", 4)))->orientation, 1);  // compressed
  EXPECT_EQ(ProbePng(xmp(std::string("Comment\0\0\0\0\0", 12)))->orientation, 1);
  EXPECT_EQ(ProbePng(xmp(keyword + std::string("\0\0en", 4)))->orientation, 1);  // no end
}

}  // namespace
}  // namespace llava::model
