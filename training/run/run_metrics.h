// A run's step reports as Prometheus metrics.
#ifndef LLAVA_TRAINING_RUN_RUN_METRICS_H_
#define LLAVA_TRAINING_RUN_RUN_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "training/optim/step_report.h"

namespace llava::training {

// Used by the training thread; the registry may be scraped by others. It outlives this.
class RunMetrics {
 public:
  explicit RunMetrics(prometheus::Registry* registry);

  void Add(const StepReport& report);
  void Add(const ValidationReport& report);

 private:
  prometheus::Family<prometheus::Counter>& rows_left_out_;
  prometheus::Counter& steps_;
  prometheus::Counter& tokens_;
  prometheus::Counter& samples_;
  prometheus::Histogram& step_seconds_;
  prometheus::Gauge& loss_;
  prometheus::Gauge& gradient_norm_;
  prometheus::Gauge& rate_;
  prometheus::Gauge& padding_ratio_;
  prometheus::Gauge& progress_ratio_;
  prometheus::Gauge& left_seconds_;
  prometheus::Gauge& memory_bytes_;
  prometheus::Counter& data_wait_seconds_;
  prometheus::Gauge& data_wait_ratio_;
  // Without a value until there is one.
  prometheus::Family<prometheus::Gauge>& validation_loss_;
  prometheus::Family<prometheus::Gauge>& validation_accuracy_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_RUN_METRICS_H_
