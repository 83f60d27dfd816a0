// What the engines report, as metrics.
#ifndef LLAVA_SERVER_APP_ENGINE_METRICS_H_
#define LLAVA_SERVER_APP_ENGINE_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "server/engine/engine.h"
#include "server/engine/observer.h"
#include "server/observe/metrics.h"

namespace llava::server {

// The observer of all engines; its calls only add to counters. What the engines count themselves is
// read from their stats, by the table in engine_metrics.cc. Thread-safe.
class EngineMetrics final : public engine::Observer {
 public:
  // Both outlive this; `registry` owns the metrics.
  EngineMetrics(observe::Metrics* metrics, prometheus::Registry* registry);

  void OnStep(const engine::StepReport& report) override;
  void OnFirstToken(Duration since_arrival) override;
  void OnNextToken(Duration since_last) override;
  void OnEnd(const scheduling::Request& request, const absl::Status& status,
             const scheduling::Usage& usage, Duration since_arrival) override;
  void OnCancelled(std::uint64_t steps) override;

  // Before a scrape, with the stats of all engines. Gauges are their sums. Counters grow by what
  // the sums grew; when a sum is smaller than before, new engines began to count from 0.
  void Refresh(std::span<const engine::EngineStats> engines);

 private:
  // Of all engines together, which a sum of their shares is not.
  void SetUsage(std::span<const engine::EngineStats> engines);

  struct Total {
    prometheus::Counter* counter;
    double last;  // the sum at the last Refresh
  };

  observe::Metrics* const metrics_;
  std::vector<prometheus::Gauge*> gauges_;  // by row of the table
  Mutex mutex_;
  std::vector<Total> totals_ ABSL_GUARDED_BY(mutex_);  // by row of the table
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_ENGINE_METRICS_H_
