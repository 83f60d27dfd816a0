#include "training/report/run_report.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/escaping.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/encode.h"
#include "model/image/image.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RunHistory History() {
  RunHistory history;
  for (int i = 1; i <= 3; ++i) {
    history.steps.push_back({i < 3 ? "align" : "tune",
                             i * 1.0,
                             {{"loss", 3.0 - i}, {"step", i * 1.0}, {"total_step", i * 1.0}}});
  }
  history.validations = {{"tune", 3.0, {{"validation_loss", 0.25}, {"step", 1.0}}}};
  return history;
}

TEST(RunReportTest, ShowsCurvesOfWhatIsThere) {
  const std::string html = RunReportHtml("flags", History());
  EXPECT_THAT(html, HasSubstr("<title>flags</title>"));
  EXPECT_THAT(html, HasSubstr("<h2>Loss</h2>"));
  EXPECT_THAT(html, HasSubstr(">validation</text>"));
  EXPECT_THAT(html, HasSubstr("0.25 after step 1 of stage tune"));
  EXPECT_THAT(html, Not(HasSubstr("<h2>Gradient norm</h2>")));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("http://")));
}

TEST(RunReportTest, TextsAreEscapedAndWrongAnswersComeFirst) {
  RunHistory history = History();
  history.samples = {{{}, "q1", "e", "<img src=x onerror=alert(1)>", true},
                     {{}, "q2", "e", "\"'&", false}};
  const std::string html = RunReportHtml("<script>", history);
  EXPECT_THAT(html, HasSubstr("&lt;img src=x onerror=alert(1)&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("<script>")));
  EXPECT_LT(html.find("q2"), html.find("q1"));
}

TEST(RunReportTest, PicturesAreSmallAndInside) {
  const test::TempDir dir;
  const model::RgbImage image{640, 320, std::vector<std::uint8_t>(640 * 320 * 3, 90)};
  std::ofstream(dir.path() + "/a.png", std::ios::binary) << *model::EncodePng(image);
  RunHistory history = History();
  history.samples = {{{dir.path() + "/a.png", dir.path() + "/lost.png"}, "q", "e", "a", false}};
  const std::string html = RunReportHtml("flags", history);
  const std::string begin = "src=\"data:image/jpeg;base64,";
  const std::size_t at = html.find(begin) + begin.size();
  ASSERT_NE(html.find(begin), html.npos);
  std::string jpeg;
  ASSERT_TRUE(absl::Base64Unescape(html.substr(at, html.find('"', at) - at), &jpeg));
  const auto thumb = model::DecodeImage(jpeg);
  ASSERT_TRUE(thumb.ok()) << thumb.status();
  EXPECT_EQ(thumb->width, 160);
  EXPECT_EQ(thumb->height, 80);
  EXPECT_THAT(html, HasSubstr("lost.png cannot be read"));
}

TEST(RunReportTest, IsWrittenWholeOrNotAtAll) {
  const test::TempDir dir;
  EXPECT_TRUE(WriteRunReport("flags", dir.path()).ok());  // no step yet: no page
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/report.html"));
  std::ofstream(dir.path() + "/metrics.jsonl")
      << R"({"stage": "tune", "total_step": 1, "loss": 2.5})" << "\n";
  EXPECT_TRUE(WriteRunReport("flags", dir.path()).ok());
  EXPECT_TRUE(std::filesystem::exists(dir.path() + "/report.html"));
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/report.html.new"));
}

}  // namespace
}  // namespace llava::training
