#include "training/data/scenes/ground.h"

#include <set>

#include "gtest/gtest.h"

namespace llava::training::scenes {
namespace {

TEST(GroundTest, HuesAreThoseOfTheColourWheel) {
  EXPECT_EQ(BgrOfHsv(0, 1, 1), cv::Scalar(0, 0, 255));
  EXPECT_EQ(BgrOfHsv(120, 1, 1), cv::Scalar(0, 255, 0));
  EXPECT_EQ(BgrOfHsv(240, 1, 1), cv::Scalar(255, 0, 0));
  EXPECT_EQ(BgrOfHsv(60, 1, 1), cv::Scalar(0, 255, 255));
  EXPECT_EQ(BgrOfHsv(-60, 1, 1), cv::Scalar(255, 0, 255));
  EXPECT_EQ(BgrOfHsv(77, 0, 0.5), cv::Scalar(127.5, 127.5, 127.5));
}

TEST(GroundTest, FillsThePictureAndVaries) {
  Rng rng(3);
  std::set<int> firsts;
  int plain = 0;
  for (int i = 0; i < 200; ++i) {
    const cv::Mat ground = MakeGround(rng, cv::Size(40, 30), 1);
    ASSERT_EQ(ground.size(), cv::Size(40, 30));
    ASSERT_EQ(ground.type(), CV_8UC3);
    firsts.insert(ground.at<cv::Vec3b>(0, 0)[0]);
    cv::Scalar mean, deviation;
    cv::meanStdDev(ground, mean, deviation);
    plain += deviation[0] + deviation[1] + deviation[2] == 0 ? 1 : 0;
  }
  EXPECT_GT(firsts.size(), 60u);
  EXPECT_GT(plain, 60);
  EXPECT_LT(plain, 120);
}

}  // namespace
}  // namespace llava::training::scenes
