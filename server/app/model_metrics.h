// What the registry tells, as metrics.
#ifndef LLAVA_SERVER_APP_MODEL_METRICS_H_
#define LLAVA_SERVER_APP_MODEL_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <deque>
#include <map>
#include <string>

#include "server/registry/version_state.h"

namespace llava::server {

// One call at a time; the prometheus registry owns the metrics. The series of versions are bounded:
// the oldest that are gone are dropped.
class ModelMetrics {
 public:
  explicit ModelMetrics(prometheus::Registry* registry);

  // See registry::Registry::OnChange.
  void OnChange(const registry::VersionInfo& info, const std::string& cause);

 private:
  struct Series {
    registry::VersionState state = registry::VersionState::kDiscovered;
    prometheus::Gauge* state_gauge = nullptr;
    prometheus::Gauge* traffic = nullptr;
    bool reported = false;  // its reload is counted
  };
  void CountReload(const registry::VersionInfo& info, const std::string& cause, Series* series);
  void DropOld();

  prometheus::Family<prometheus::Gauge>& states_;
  prometheus::Family<prometheus::Gauge>& traffic_;
  prometheus::Family<prometheus::Counter>& reloads_;
  prometheus::Family<prometheus::Counter>& verdicts_;
  prometheus::Histogram& load_seconds_;
  std::map<std::string, Series> series_;  // by version
  std::deque<std::string> order_;         // the oldest first
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_MODEL_METRICS_H_
