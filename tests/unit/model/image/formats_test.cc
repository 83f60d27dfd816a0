#include "model/image/formats.h"

#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string Image(const std::string& name) {
  std::ifstream in("tests/unit/model/image/data/images/" + name, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string ErrorOf(const absl::StatusOr<ImageHeader>& header) {
  EXPECT_EQ(header.status().code(), absl::StatusCode::kInvalidArgument) << header.status();
  return std::string(header.status().message());
}

// A probe reads headers alone: whatever stands behind them may be missing or wrong.
TEST(FormatsTest, ProbesReadHeadersAlone) {
  const std::string jpeg = Image("rgb_420.jpg");
  EXPECT_EQ(ProbeJpeg(jpeg.substr(0, jpeg.find("\xff\xda") + 2))->width, 37);
  EXPECT_EQ(ProbePng(Image("rgb8.png").substr(0, 33))->height, 23);
  const std::string gif = Image("animated.gif");
  EXPECT_EQ(ProbeGif(gif.substr(0, gif.size() - 600))->width, 37);
}

TEST(FormatsTest, FaultsOfJpegHeaders) {
  EXPECT_THAT(ErrorOf(ProbeJpeg("\xff\xd8\xff\xd9")), HasSubstr("before its frame header"));
  const std::string jpeg = Image("rgb_420.jpg");
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

TEST(FormatsTest, FaultsOfPngHeaders) {
  std::string wrong = Image("rgb8.png");
  wrong[20] = 1;  // without a new check sum
  EXPECT_THAT(ErrorOf(ProbePng(wrong)), HasSubstr("IHDR"));
  EXPECT_THAT(ErrorOf(ProbePng(Image("rgb8.png").substr(0, 20))), HasSubstr("truncated"));
}

TEST(FormatsTest, FaultsOfWebpContainers) {
  const std::string part = Image("animated_part.webp");
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

TEST(FormatsTest, FaultsOfGifHeaders) {
  const std::string gif = Image("plain.gif");
  EXPECT_THAT(ErrorOf(ProbeGif(gif.substr(0, 10))), HasSubstr("truncated"));
  const std::size_t image = 13 + 48;
  ASSERT_EQ(gif[image], ',');
  EXPECT_THAT(ErrorOf(ProbeGif(gif.substr(0, image) + ";")), HasSubstr("no picture"));
  EXPECT_THAT(ErrorOf(ProbeGif(gif.substr(0, image + 5))), HasSubstr("truncated"));
  std::string empty = gif;
  empty[image + 5] = empty[image + 6] = 0;
  EXPECT_THAT(ErrorOf(ProbeGif(empty)), HasSubstr("0 x 23"));
}

TEST(FormatsTest, ABudgetIsSpentByComputing) {
  const ImageLimits none{.max_cpu_time = Duration(-1)};
  EXPECT_TRUE(DecodeBudget(none).IsSpent());
  const ImageLimits little{.max_cpu_time = std::chrono::milliseconds(2)};
  DecodeBudget budget(little);
  volatile std::uint64_t work = 0;
  while (!budget.IsSpent()) work = work + 1;  // ends
  EXPECT_GT(work, 0u);
  EXPECT_TRUE(budget.was_spent());
  EXPECT_THAT(std::string(budget.Error(ImageFormat::kPng).message()),
              AllOf(HasSubstr("a PNG picture: "), HasSubstr(kTooSlow), HasSubstr("is 0.002 s")));
  const ImageLimits much{.max_cpu_time = std::chrono::hours(1)};
  EXPECT_FALSE(DecodeBudget(much).IsSpent());
}

TEST(FormatsTest, ABudgetIsSpentForEverWhenItIsStopped) {
  int asked = 0;
  const ImageLimits limits{
      .stop = [&] { return ++asked == 3 ? absl::CancelledError("gone") : absl::OkStatus(); }};
  DecodeBudget budget(limits);
  EXPECT_FALSE(budget.IsSpent());
  EXPECT_FALSE(budget.IsSpent());
  EXPECT_FALSE(budget.was_spent());
  EXPECT_TRUE(budget.IsSpent());
  EXPECT_TRUE(budget.IsSpent());
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(budget.Error(ImageFormat::kGif), absl::CancelledError("gone"));
}

}  // namespace
}  // namespace llava::model
