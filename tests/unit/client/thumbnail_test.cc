#include "client/thumbnail.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/rng.h"
#include "client/image.h"

namespace llava::client {
namespace {

std::string Read(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream("tests/golden/data/images/" + name, std::ios::binary).rdbuf();
  return text.str();
}

// A BMP of 24 bits, bottom row first, whose rows are 0xRRGGBB values.
std::string Bmp(const std::vector<std::vector<std::uint32_t>>& rows) {
  const auto put = [](std::string* out, std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out->push_back(static_cast<char>(value >> 8 * i));
  };
  std::string pixels;
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
    for (const std::uint32_t rgb : *row) put(&pixels, rgb, 3);
    while (pixels.size() % 4 != 0) pixels.push_back('\0');
  }
  std::string file = "BM";
  put(&file, static_cast<std::uint32_t>(54 + pixels.size()), 4);
  put(&file, 0, 4);
  put(&file, 54, 4);
  put(&file, 40, 4);
  put(&file, static_cast<std::uint32_t>(rows[0].size()), 4);
  put(&file, static_cast<std::uint32_t>(rows.size()), 4);
  put(&file, 1, 2);
  put(&file, 24, 2);
  for (int i = 0; i < 6; ++i) put(&file, 0, 4);
  return file + pixels;
}

TEST(ThumbnailTest, ASmallPictureStaysAsItIs) {
  const auto thumbnail = MakeThumbnail(Bmp({{0xff0000, 0x00ff00}, {0x0000ff, 0x102030}}), 10, 10);
  ASSERT_TRUE(thumbnail.ok()) << thumbnail.status();
  EXPECT_EQ(thumbnail->width, 2);
  EXPECT_EQ(thumbnail->height, 2);
  EXPECT_EQ(thumbnail->rgb,
            (std::vector<std::uint8_t>{255, 0, 0, 0, 255, 0, 0, 0, 255, 16, 32, 48}));
  EXPECT_EQ(thumbnail->At(1, 1)[2], 48);
}

TEST(ThumbnailTest, ALargeOneBecomesTheMeansOfItsPixels) {
  const auto thumbnail = MakeThumbnail(
      Bmp({{0x000000, 0xffffff, 0x0a0a0a, 0x0a0a0a}, {0xffffff, 0x000000, 0x0c0c0c, 0x0c0c0c}}), 2,
      2);
  ASSERT_TRUE(thumbnail.ok());
  EXPECT_EQ(thumbnail->width, 2);
  EXPECT_EQ(thumbnail->height, 1);  // the proportions stay
  EXPECT_EQ(thumbnail->At(0, 0)[0], 127);
  EXPECT_EQ(thumbnail->At(1, 0)[0], 11);
}

TEST(ThumbnailTest, ReadsEveryFormat) {
  for (const char* name : {"landscape.png", "portrait.jpg", "gray.png", "rgba.png"}) {
    const auto thumbnail = MakeThumbnail(Read(name), 8, 8);
    ASSERT_TRUE(thumbnail.ok()) << name << ": " << thumbnail.status();
    EXPECT_EQ(std::max(thumbnail->width, thumbnail->height), 8) << name;
    EXPECT_EQ(thumbnail->rgb.size(), static_cast<std::size_t>(thumbnail->width) *
                                         static_cast<std::size_t>(thumbnail->height) * 3);
  }
  Rng rng(1);
  EXPECT_TRUE(MakeThumbnail(DrawImage(32, &rng), 1, 1).ok());
}

TEST(ThumbnailTest, ALineStaysALine) {
  const auto thumbnail = MakeThumbnail(Bmp({std::vector<std::uint32_t>(100, 0xffffff)}), 10, 10);
  ASSERT_TRUE(thumbnail.ok()) << thumbnail.status();
  EXPECT_EQ(thumbnail->width, 10);
  EXPECT_EQ(thumbnail->height, 1);
}

TEST(ThumbnailTest, RefusesMorePixelsThanItWouldDecode) {
  std::string file = Bmp({{0xffffff}});
  for (const std::size_t side : {18, 22}) {  // 20'000 x 20'000
    file[side] = 0x20;
    file[side + 1] = 0x4e;
  }
  const absl::Status status = MakeThumbnail(file, 8, 8).status();
  EXPECT_EQ(status.message(), "20000 x 20000 pixels are too many to show");
}

TEST(ThumbnailTest, RefusesWhatIsNoPicture) {
  const std::string png = Read("landscape.png");
  for (const std::string& wrong :
       {std::string(), std::string("text"), png.substr(0, png.size() / 2), png.substr(0, 20)}) {
    EXPECT_EQ(MakeThumbnail(wrong, 8, 8).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace llava::client
