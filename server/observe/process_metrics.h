// The usual process_* metrics, read from /proc when somebody scrapes.
#ifndef LLAVA_SERVER_OBSERVE_PROCESS_METRICS_H_
#define LLAVA_SERVER_OBSERVE_PROCESS_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace llava::observe {

// Thread-safe. Metrics that the system does not give are left out.
class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace llava::observe

#endif  // LLAVA_SERVER_OBSERVE_PROCESS_METRICS_H_
