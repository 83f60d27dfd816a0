#include "training/run/run_metrics.h"

#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <string>

namespace llava::training {
namespace {

class RunMetricsTest : public ::testing::Test {
 protected:
  // Whether the exposition has this line.
  bool Has(const std::string& line) const {
    const std::string text = prometheus::TextSerializer().Serialize(registry_.Collect());
    return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
  }

  static StepReport Report() {
    StepReport report;
    report.step = 3;
    report.stage_steps = 12;
    report.loss = 1.5;
    report.gradient_norm = 2.5;
    report.rate = 0.125;
    report.seconds = 2.0;
    report.waited_seconds = 0.5;
    report.seconds_left = 18.0;
    report.memory_bytes = 4096;
    report.stats = {.samples = 8, .tokens = 96, .masked = 2, .bad = 3, .padding = 32};
    return report;
  }

  prometheus::Registry registry_;
  RunMetrics metrics_{&registry_};
};

TEST_F(RunMetricsTest, CountsAddUpOverSteps) {
  metrics_.Add(Report());
  metrics_.Add(Report());
  for (const char* line :
       {"llava_training_steps_total 2", "llava_training_tokens_total 192",
        "llava_training_samples_total 16", "llava_training_rows_left_out_total{reason=\"bad\"} 6",
        "llava_training_rows_left_out_total{reason=\"masked\"} 4",
        "llava_training_step_seconds_count 2", "llava_training_data_wait_seconds_total 1",
        "llava_training_step_seconds_sum 4", "llava_training_step_seconds_bucket{le=\"1\"} 0",
        "llava_training_step_seconds_bucket{le=\"3\"} 2"}) {
    EXPECT_TRUE(Has(line)) << line;
  }
}

TEST_F(RunMetricsTest, MeasuresAreThoseOfTheLastStep) {
  metrics_.Add(Report());
  StepReport last = Report();
  last.loss = 1.25;
  last.step = 6;
  metrics_.Add(last);
  for (const char* line :
       {"llava_training_loss 1.25", "llava_training_gradient_norm 2.5", "llava_training_rate 0.125",
        "llava_training_padding_ratio 0.25", "llava_training_stage_progress_ratio 0.5",
        "llava_training_stage_left_seconds 18", "llava_training_data_wait_ratio 0.25",
        "llava_training_resident_memory_bytes 4096"}) {
    EXPECT_TRUE(Has(line)) << line;
  }
}

TEST_F(RunMetricsTest, ValidationHasNoValueBeforeTheFirstOne) {
  EXPECT_FALSE(Has("llava_training_validation_loss 0"));
  ValidationReport report;
  report.loss = 0.5;
  report.accuracy = 0.75;
  metrics_.Add(report);
  EXPECT_TRUE(Has("llava_training_validation_loss 0.5"));
  EXPECT_TRUE(Has("llava_training_validation_accuracy_ratio 0.75"));
}

// An alert on a rate needs the series before the first row is bad.
TEST_F(RunMetricsTest, ASeriesIsThereFromTheFirstStepOn) {
  StepReport clean = Report();
  clean.stats.bad = 0;
  metrics_.Add(clean);
  EXPECT_TRUE(Has("llava_training_rows_left_out_total{reason=\"bad\"} 0"));
}

}  // namespace
}  // namespace llava::training
