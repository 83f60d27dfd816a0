// The service's jobs as Prometheus metrics, read when somebody scrapes.
#ifndef LLAVA_TRAINING_SERVICE_JOB_METRICS_H_
#define LLAVA_TRAINING_SERVICE_JOB_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "training/service/job_runner.h"
#include "training/service/job_store.h"

namespace llava::training {

// Thread-safe. llava_training_jobs by state, the progress of those that run, and when one
// succeeded last. A store that does
// not answer gives no metrics.
class JobMetrics final : public prometheus::Collectable {
 public:
  // Both outlive this.
  JobMetrics(JobStore& store, const JobRunner& runner) : store_(store), runner_(runner) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  JobStore& store_;
  const JobRunner& runner_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_JOB_METRICS_H_
