#include "training/report/curve_svg.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::size_t Points(const std::string& svg) {
  const std::size_t begin = svg.find("points=\"") + 8;
  const std::string points = svg.substr(begin, svg.find('"', begin) - begin);
  return static_cast<std::size_t>(std::count(points.begin(), points.end(), ','));
}

TEST(CurveSvgTest, APointLiesWhereItsValueIs) {
  const std::string svg = CurveSvg("t", {{"loss", "red", {{0, 0}, {10, 2}}}}, {});
  EXPECT_THAT(svg, HasSubstr("points=\"64.0,214.0 708.0,34.0\""));
  EXPECT_THAT(svg, HasSubstr(">2</text>"));
  EXPECT_THAT(svg, HasSubstr(">loss</text>"));
}

TEST(CurveSvgTest, NothingIsDrawnOfNothing) {
  EXPECT_EQ(CurveSvg("t", {}, {}), "");
  EXPECT_EQ(CurveSvg("t", {{"loss", "red", {}}}, {}), "");
  const double none = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(CurveSvg("t", {{"loss", "red", {{1, none}}}}, {}), "");
}

TEST(CurveSvgTest, ASinglePointHasAFrame) {
  EXPECT_THAT(CurveSvg("t", {{"loss", "red", {{3, 0}}, true}}, {}), HasSubstr("<circle"));
  EXPECT_THAT(CurveSvg("t", {{"loss", "red", {{3, 0}}, true}}, {}), Not(HasSubstr("nan")));
}

TEST(CurveSvgTest, LongCurvesAreThinnedByTheirMeans) {
  Curve curve{"loss", "red", {}};
  for (int i = 0; i < 8000; ++i) curve.points.push_back({i * 1.0, i % 2 == 0 ? 1.0 : 3.0});
  const std::string svg = CurveSvg("t", {curve}, {});
  EXPECT_EQ(Points(svg), 800u);
  EXPECT_THAT(svg, HasSubstr(",34.0"));  // the mean 2 is the highest there is
}

TEST(CurveSvgTest, TextsAreEscaped) {
  EXPECT_EQ(EscapeHtml("<a href='x'>&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
  EXPECT_THAT(CurveSvg("t", {{"loss", "red", {{0, 1}}}}, {{0, "<script>"}}),
              Not(HasSubstr("<script>")));
}

}  // namespace
}  // namespace llava::training
