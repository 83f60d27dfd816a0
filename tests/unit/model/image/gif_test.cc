// What the reader of GIFs does beside the images that image_test compares with Pillow's.
#include <chrono>
#include <string>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/formats.h"

namespace llava::model {
namespace {

std::string Gif(const std::string& name) {
  return ReadFile("tests/unit/model/image/data/images/" + name, 1 << 20).value();
}

absl::StatusOr<RgbImage> Decode(const std::string& bytes, Duration time = std::chrono::hours(1)) {
  return DecodeImage(bytes, {.max_cpu_time = time});
}

TEST(GifTest, TheFirstFrameCountsHoweverItsRowsAreStored) {
  const auto plain = Decode(Gif("plain.gif"));
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->width, 37);
  EXPECT_EQ(plain->height, 23);
  EXPECT_EQ(plain->pixels.size(), 3u * 37 * 23);
  for (const char* same : {"interlaced_rows.gif", "animated.gif", "second_frame_cut.gif"}) {
    const auto other = Decode(Gif(same));
    ASSERT_TRUE(other.ok()) << same << other.status();
    EXPECT_EQ(other->pixels, plain->pixels) << same;
  }
}

TEST(GifTest, AFrameThatIsCutIsAnErrorWhereverItEnds) {
  const std::string whole = Gif("plain.gif");
  ASSERT_TRUE(Decode(whole).ok());
  int errors = 0;
  for (std::size_t size = 0; size < whole.size() - 64; size += 7) {
    const auto cut = Decode(whole.substr(0, size));
    if (!cut.ok()) {
      EXPECT_EQ(cut.status().code(), absl::StatusCode::kInvalidArgument) << size;
      ++errors;
    }
  }
  EXPECT_GT(errors, 10);
  const absl::Status half = Decode(whole.substr(0, whole.size() / 2)).status();
  EXPECT_NE(half.message().find("truncated"), half.message().npos) << half;
}

TEST(GifTest, StopsWhenItsTimeIsOver) {
  const auto late = Decode(Gif("plain.gif"), -std::chrono::seconds(1));
  ASSERT_FALSE(late.ok());
  EXPECT_THAT(std::string(late.status().message()), testing::HasSubstr(kTooSlow));
}

}  // namespace
}  // namespace llava::model
