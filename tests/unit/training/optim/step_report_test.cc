#include "training/optim/step_report.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>
#include <vector>

namespace llava::training {
namespace {

StepReport Report() {
  StepReport report;
  report.stage = "tune \"2\"\n";
  report.step = 3;
  report.stage_steps = 10;
  report.total_step = 13;
  report.loss = 0.1 + 0.2;  // has 17 digits
  report.accuracy = 1.0 / 3.0;
  report.gradient_norm = 1e-7;
  report.rate = 3e-4;
  report.seconds = 0.5;
  report.waited_seconds = 0.125;
  report.seconds_left = 3.5;
  report.memory_bytes = std::int64_t{5} << 30;
  report.targets = 40;
  report.stats = {.samples = 8,
                  .tokens = 600,
                  .label_tokens = 40,
                  .image_tokens = 500,
                  .truncated = 1,
                  .masked = 2,
                  .bad = 4,
                  .padding = 200};
  return report;
}

TEST(StepReportTest, RatesAndSharesAreOfTheWholeBatch) {
  StepReport report = Report();
  EXPECT_DOUBLE_EQ(report.tokens_per_second(), 1200.0);
  EXPECT_DOUBLE_EQ(report.samples_per_second(), 16.0);
  EXPECT_DOUBLE_EQ(report.padding_share(), 0.25);
  report.seconds = 0.0;
  report.stats = {};
  EXPECT_EQ(report.tokens_per_second(), 0.0);
  EXPECT_EQ(report.padding_share(), 0.0);
}

// A run that goes on is compared with one that was not interrupted, by these lines.
TEST(StepReportTest, JsonIsOneLineThatKeepsEveryDigit) {
  const StepReport report = Report();
  const std::string line = ToJson(report);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const boost::json::value json = boost::json::parse(line);
  EXPECT_EQ(json.at("stage").as_string(), report.stage);
  EXPECT_EQ(json.at("loss").as_double(), report.loss);
  EXPECT_EQ(json.at("accuracy").as_double(), report.accuracy);
  EXPECT_EQ(json.at("grad_norm").as_double(), report.gradient_norm);
  EXPECT_EQ(json.at("rate").as_double(), report.rate);
  EXPECT_EQ(json.at("memory_bytes").to_number<std::int64_t>(), report.memory_bytes);
  EXPECT_EQ(json.at("seconds").to_number<double>(), 0.5);
  EXPECT_EQ(json.at("seconds_left").to_number<double>(), 3.5);
  EXPECT_EQ(json.at("tokens_per_second").to_number<double>(), 1200.0);
  EXPECT_EQ(json.at("samples_per_second").to_number<double>(), 16.0);
  EXPECT_EQ(json.at("padding_share").to_number<double>(), 0.25);
  EXPECT_EQ(json.at("data_wait_share").to_number<double>(), 0.25);
}

TEST(StepReportTest, JsonCountsEachThingUnderItsName) {
  const boost::json::value json = boost::json::parse(ToJson(Report()));
  const std::vector<std::pair<const char*, int>> counts = {
      {"step", 3},     {"stage_steps", 10}, {"total_step", 13}, {"targets", 40}, {"samples", 8},
      {"tokens", 600}, {"truncated", 1},    {"masked", 2},      {"bad", 4}};
  for (const auto& [name, count] : counts) EXPECT_EQ(json.at(name).to_number<int>(), count) << name;
}

TEST(StepReportTest, AValidationIsALineWithItsSamples) {
  ValidationReport report;
  report.stage = "tune";
  report.total_step = 13;
  report.loss = 0.1 + 0.2;
  report.best = true;
  report.samples = {{{"/a.png"}, "q\n", "e", "<a>", true}};
  const std::string line = ToJson(report);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const boost::json::value json = boost::json::parse(line);
  EXPECT_EQ(json.at("validation_loss").as_double(), report.loss);
  EXPECT_TRUE(json.at("best").as_bool());
  EXPECT_FALSE(json.as_object().contains("loss"));  // which is a step's
  const boost::json::value& sample = json.at("samples_asked").at(0);
  EXPECT_EQ(sample.at("images").at(0), "/a.png");
  EXPECT_EQ(sample.at("question"), "q\n");
  EXPECT_EQ(sample.at("answer"), "<a>");
  EXPECT_TRUE(sample.at("right").as_bool());
}

TEST(StepReportTest, ResidentMemoryGrowsWithWhatIsTouched) {
  const std::int64_t before = ResidentBytes();
  EXPECT_GT(before, 1 << 20);
  const std::vector<char> touched(std::size_t{64} << 20, 'x');
  EXPECT_GT(ResidentBytes(), before + (32 << 20)) << touched.back();
}

}  // namespace
}  // namespace llava::training
