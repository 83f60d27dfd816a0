#include "model/image/formats.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/model/image/image_data.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

// A probe reads headers alone: whatever stands behind them may be missing or wrong.
TEST(FormatsTest, ProbesReadHeadersAlone) {
  const std::string jpeg = ImageData("rgb_420.jpg");
  EXPECT_EQ(ProbeJpeg(jpeg.substr(0, jpeg.find("\xff\xda") + 2))->width, 37);
  EXPECT_EQ(ProbePng(ImageData("rgb8.png").substr(0, 33))->height, 23);
  const std::string gif = ImageData("animated.gif");
  EXPECT_EQ(ProbeGif(gif.substr(0, gif.size() - 600))->width, 37);
}

TEST(FormatsTest, FaultsOfGifHeaders) {
  const std::string gif = ImageData("plain.gif");
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
