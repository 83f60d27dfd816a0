#include "training/report/score_svg.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ScoreSvg, HasABarForEachScoreAndTheTotalFirst) {
  const std::string svg =
      ScoreSvg("rows, 5 questions", 100,
               {{"this", {{"colour", 0.4}, {"total", 0.8}}}, {"its <parent>", {{"total", 0.2}}}});
  EXPECT_THAT(svg, AllOf(HasSubstr("<svg "), HasSubstr("rows, 5 questions"), HasSubstr(">80.00<"),
                         HasSubstr(">40.00<"), HasSubstr(">20.00<"), HasSubstr("its &lt;parent")));
  EXPECT_LT(svg.find(">total<"), svg.find(">colour<"));
  // The longest bar takes the room, the others their share of it.
  EXPECT_THAT(svg, AllOf(HasSubstr("width=\"470.0\""), HasSubstr("width=\"235.0\""),
                         HasSubstr("width=\"117.5\"")));
}

TEST(ScoreSvg, NothingRightIsAPictureToo) {
  const std::string svg = ScoreSvg("rows", 1, {{"this", {{"total", 0}}}});
  EXPECT_THAT(svg, AllOf(HasSubstr(">0.00<"), HasSubstr("width=\"0.0\""), Not(HasSubstr("nan"))));
}

}  // namespace
}  // namespace llava::training
