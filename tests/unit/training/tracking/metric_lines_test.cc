#include "training/tracking/metric_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class MetricLinesTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }

  static std::string Step(int step, const std::string& loss) {
    return absl::StrCat(R"({"total_step":)", step, R"(,"unix_ms":)", 1000 + step, R"(,"loss":)",
                        loss, "}\n");
  }

  MetricBatch Next(std::int64_t step = 0, std::int64_t validation = 0) {
    auto batch = lines_.Next(step, validation);
    EXPECT_TRUE(batch.ok()) << batch.status();
    return *std::move(batch);
  }

  test::TempDir dir_;
  const std::string path_ = dir_.path() + "/metrics.jsonl";
  MetricLines lines_{path_};
};

TEST_F(MetricLinesTest, StepsAndValidationsAreCurves) {
  EXPECT_THAT(Next().points, IsEmpty());  // there is no file yet
  Write(Step(1, "2.5"));
  Write(R"({"total_step":1,"unix_ms":1002,"validation_loss":0.5,"validation_accuracy":0.25})"
        "\n");
  const MetricBatch batch = Next();
  EXPECT_THAT(batch.points, ElementsAre(MetricPoint{"loss", 2.5, 1001, 1},
                                        MetricPoint{"validation/loss", 0.5, 1002, 1},
                                        MetricPoint{"validation/accuracy", 0.25, 1002, 1}));
  EXPECT_EQ(batch.step, 1);
  EXPECT_EQ(batch.validation, 1);
}

TEST_F(MetricLinesTest, WhatIsNotTakenComesAgainAndALineThatIsNotWholeLater) {
  Write(Step(1, "1") + R"({"total_step":2,"lo)");
  EXPECT_EQ(Next().points.size(), 1u);
  EXPECT_EQ(Next().points.size(), 1u);
  lines_.Take();
  EXPECT_THAT(Next(1).points, IsEmpty());
  lines_.Take();
  Write("ss\":3}\n");
  EXPECT_THAT(Next(1).points, ElementsAre(MetricPoint{"loss", 3, 0, 2}));
}

TEST_F(MetricLinesTest, AFileThatWasReplacedIsReadAgainWithoutWhatIsKnown) {
  Write(Step(1, "1") + Step(2, "2"));
  EXPECT_EQ(Next().points.size(), 2u);
  lines_.Take();
  std::ofstream(path_ + ".new") << Step(1, "1") << Step(2, "2") << Step(3, "3") << Step(4, "4");
  std::filesystem::rename(path_ + ".new", path_);
  EXPECT_THAT(Next(2).points,
              ElementsAre(MetricPoint{"loss", 3, 1003, 3}, MetricPoint{"loss", 4, 1004, 4}));
}

TEST_F(MetricLinesTest, WhatIsNoNumberOrNoLineIsLeftOut) {
  Write("\n[]\n{\"total_step\":\"x\",\"loss\":1}\nnull\n\xff{\n");
  Write(Step(1, "null") + Step(2, "1e99999") + Step(3, "\"4\"") + Step(4, "4"));
  EXPECT_THAT(Next().points, ElementsAre(MetricPoint{"loss", 4, 1004, 4}));
}

TEST_F(MetricLinesTest, NoMoreThanAServerTakesAtOnce) {
  for (int step = 1; step <= 2500; ++step) Write(Step(step, "1"));
  std::int64_t step = 0;
  std::size_t points = 0;
  int batches = 0;
  for (;; ++batches) {
    const MetricBatch batch = Next(step);
    if (batch.points.empty()) break;
    EXPECT_LE(batch.points.size(), MetricLines::kMostPoints);
    points += batch.points.size();
    step = batch.step;
    lines_.Take();
  }
  EXPECT_EQ(points, 2500u);
  EXPECT_EQ(step, 2500);
  EXPECT_EQ(batches, 3);
}

TEST_F(MetricLinesTest, ALineWithoutEndHidesNothingBehindIt) {
  Write(std::string(9 << 20, 'x'));
  Write("\n" + Step(1, "1"));
  EXPECT_THAT(Next().points, ElementsAre(MetricPoint{"loss", 1, 1001, 1}));
}

TEST_F(MetricLinesTest, WhatIsNoFileIsAnError) {
  std::filesystem::create_directory(path_);
  EXPECT_FALSE(lines_.Next(0, 0).ok());
}

}  // namespace
}  // namespace llava::training
