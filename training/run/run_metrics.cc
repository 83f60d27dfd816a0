#include "training/run/run_metrics.h"

#include <string>

namespace llava::training {
namespace {

prometheus::Counter& Count(prometheus::Registry* registry, const std::string& name,
                           const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(*registry).Add({});
}

prometheus::Gauge& Measure(prometheus::Registry* registry, const std::string& name,
                           const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(*registry).Add({});
}

prometheus::Family<prometheus::Gauge>& Family(prometheus::Registry* registry,
                                              const std::string& name, const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(*registry);
}

}  // namespace

RunMetrics::RunMetrics(prometheus::Registry* registry)
    : rows_left_out_(prometheus::BuildCounter()
                         .Name("llava_training_rows_left_out_total")
                         .Help("Rows that taught nothing: bad (unreadable) or masked (no label)")
                         .Register(*registry)),
      steps_(Count(registry, "llava_training_steps_total", "Steps done by this process")),
      tokens_(
          Count(registry, "llava_training_tokens_total", "Tokens trained on, pictures included")),
      samples_(Count(registry, "llava_training_samples_total", "Samples trained on")),
      step_seconds_(prometheus::BuildHistogram()
                        .Name("llava_training_step_seconds")
                        .Help("Time of a step")
                        .Register(*registry)
                        .Add({}, prometheus::Histogram::BucketBoundaries{0.01, 0.03, 0.1, 0.3, 1, 3,
                                                                         10, 30, 100, 300})),
      loss_(
          Measure(registry, "llava_training_loss", "Mean over the label tokens of the last step")),
      gradient_norm_(Measure(registry, "llava_training_gradient_norm", "Before clipping")),
      rate_(Measure(registry, "llava_training_rate", "Learning rate of the first group")),
      padding_ratio_(Measure(registry, "llava_training_padding_ratio",
                             "Share of positions that were computed for nothing")),
      progress_ratio_(Measure(registry, "llava_training_stage_progress_ratio",
                              "Share of the stage's steps that are done")),
      left_seconds_(Measure(registry, "llava_training_stage_left_seconds",
                            "Until the end of the stage, at the pace so far")),
      memory_bytes_(Measure(registry, "llava_training_resident_memory_bytes",
                            "Resident memory of this process")),
      data_wait_seconds_(Count(registry, "llava_training_data_wait_seconds_total",
                               "Time that steps waited for data that was not ready")),
      data_wait_ratio_(Measure(registry, "llava_training_data_wait_ratio",
                               "Share of the last step that it waited for data")),
      validation_loss_(Family(registry, "llava_training_validation_loss",
                              "Mean over the label tokens of held-out rows, last validation")),
      validation_accuracy_(Family(registry, "llava_training_validation_accuracy_ratio",
                                  "Share of label tokens that were the most likely choice")) {}

void RunMetrics::Add(const ValidationReport& report) {
  validation_loss_.Add({}).Set(report.loss);
  validation_accuracy_.Add({}).Set(report.accuracy);
}

void RunMetrics::Add(const StepReport& report) {
  rows_left_out_.Add({{"reason", "bad"}}).Increment(static_cast<double>(report.stats.bad));
  rows_left_out_.Add({{"reason", "masked"}}).Increment(static_cast<double>(report.stats.masked));
  steps_.Increment();
  tokens_.Increment(static_cast<double>(report.stats.tokens));
  samples_.Increment(static_cast<double>(report.stats.samples));
  step_seconds_.Observe(report.seconds);
  loss_.Set(report.loss);
  gradient_norm_.Set(report.gradient_norm);
  rate_.Set(report.rate);
  padding_ratio_.Set(report.padding_share());
  progress_ratio_.Set(static_cast<double>(report.step) / static_cast<double>(report.stage_steps));
  left_seconds_.Set(report.seconds_left);
  memory_bytes_.Set(static_cast<double>(report.memory_bytes));
  data_wait_seconds_.Increment(report.waited_seconds);
  data_wait_ratio_.Set(report.data_wait_share());
}

}  // namespace llava::training
