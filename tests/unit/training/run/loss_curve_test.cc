#include "training/run/loss_curve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.h"
#include "model/image/image.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

using Colour = std::array<int, 3>;

// Red, green, blue. The plot's corners are (70, 30) and (930, 430).
constexpr Colour kMean{20, 90, 180};
constexpr Colour kStage{220, 120, 120};

class LossCurveTest : public ::testing::Test {
 protected:
  void Add(int step, double loss, const std::string& stage = "tune") {
    std::ofstream(metrics_, std::ios::app) << "{\"total_step\": " << step << ", \"loss\": " << loss
                                           << ", \"stage\": \"" << stage << "\"}\n";
  }

  model::RgbImage Draw() {
    const absl::Status status = DrawLossCurve(metrics_, png_);
    EXPECT_TRUE(status.ok()) << status;
    return model::DecodeImage(ReadFile(png_, 1 << 20).value()).value();
  }

  // Whether the colour is within two pixels of the place.
  static bool Has(const model::RgbImage& image, const Colour& colour, int x, int y) {
    for (int dy = -2; dy <= 2; ++dy) {
      for (int dx = -2; dx <= 2; ++dx) {
        const std::uint8_t* pixel =
            &image.pixels.at(static_cast<std::size_t>(3 * ((y + dy) * image.width + x + dx)));
        int distance = 0;
        for (std::size_t i = 0; i < 3; ++i) distance += std::abs(pixel[i] - colour[i]);
        if (distance < 60) return true;
      }
    }
    return false;
  }

  test::TempDir dir_;
  const std::string metrics_ = dir_.path() + "/metrics.jsonl";
  const std::string png_ = dir_.path() + "/loss.png";
};

TEST_F(LossCurveTest, WithoutAStepThereIsNothingToDraw) {
  EXPECT_TRUE(DrawLossCurve(metrics_, png_).ok());
  std::ofstream(metrics_) << "{\"total_step\": 1, \"lo\n";
  EXPECT_TRUE(DrawLossCurve(metrics_, png_).ok());
  EXPECT_FALSE(std::filesystem::exists(png_));
}

// With few steps the mean is the loss itself.
TEST_F(LossCurveTest, ACurveGoesFromTheFirstLossToTheLast) {
  Add(11, 4.0);
  Add(13, 4.0);
  std::ofstream(metrics_, std::ios::app) << "{\"total_ste\n";  // cut short by a kill
  Add(15, 1.0);
  const model::RgbImage image = Draw();
  ASSERT_EQ(image.width, 960);
  ASSERT_EQ(image.height, 480);
  EXPECT_TRUE(Has(image, kMean, 300, 30));
  EXPECT_TRUE(Has(image, kMean, 500, 30));
  EXPECT_TRUE(Has(image, kMean, 715, 30 + 150));  // half way down from 4 to 1
  EXPECT_TRUE(Has(image, kMean, 928, 30 + 300));
  EXPECT_FALSE(Has(image, kMean, 300, 180));
  EXPECT_FALSE(Has(image, kMean, 928, 200));
}

TEST_F(LossCurveTest, AStageBeginsAtALineAndACurveOfItsOwn) {
  for (int step = 0; step < 10; ++step) Add(step, 1.0, "align");
  for (int step = 10; step <= 20; ++step) Add(step, 2.0, "tune");
  const model::RgbImage image = Draw();
  EXPECT_TRUE(Has(image, kStage, 70 + 430, 300));
  EXPECT_FALSE(Has(image, kStage, 70 + 400, 300));
  EXPECT_TRUE(Has(image, kMean, 200, 230));
  EXPECT_TRUE(Has(image, kMean, 800, 30));
  EXPECT_FALSE(Has(image, kMean, 70 + 9 * 43 + 21, 130));  // nothing leads from one to the other
}

// 500 steps: a mean over some ten of them lies between losses that jump.
TEST_F(LossCurveTest, TheMeanIsSmootherThanTheLosses) {
  for (int step = 0; step <= 500; ++step) Add(step, step % 2 == 0 ? 4.0 : 0.0);
  const model::RgbImage image = Draw();
  EXPECT_TRUE(Has(image, kMean, 700, 230) || Has(image, kMean, 700, 240) ||
              Has(image, kMean, 700, 220));
  EXPECT_FALSE(Has(image, kMean, 700, 60));
  EXPECT_FALSE(Has(image, kMean, 700, 400));
}

TEST_F(LossCurveTest, OneStepAndLossesOfZeroAreDrawnToo) {
  Add(1, 0.0);
  EXPECT_EQ(Draw().width, 960);
  EXPECT_FALSE(std::filesystem::exists(png_ + ".new"));
}

TEST_F(LossCurveTest, NamesTheFileThatCannotBeWritten) {
  Add(1, 1.0);
  const absl::Status status = DrawLossCurve(metrics_, dir_.path() + "/no/loss.png");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/loss.png"));
}

}  // namespace
}  // namespace llava::training
