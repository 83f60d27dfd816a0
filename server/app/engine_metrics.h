// What the engines report, as metrics.
#ifndef LLAVA_SERVER_APP_ENGINE_METRICS_H_
#define LLAVA_SERVER_APP_ENGINE_METRICS_H_

#include <cstdint>
#include <vector>

#include "base/mutex.h"
#include "server/engine/engine.h"
#include "server/engine/observer.h"
#include "server/observe/metrics.h"

namespace llava::server {

// The observer of all engines; its calls only add to counters.
class EngineMetrics final : public engine::Observer {
 public:
  explicit EngineMetrics(observe::Metrics* metrics) : metrics_(metrics) {}

  void OnStep(const engine::StepReport& report) override;
  void OnFirstToken(Duration since_arrival) override;
  void OnNextToken(Duration since_last) override;
  void OnEnd(const scheduling::Request& request, const absl::Status& status,
             const scheduling::Usage& usage, Duration since_arrival) override;
  void OnCancelled(std::uint64_t steps) override;

  // Before a scrape: what only the engines know.
  void Refresh(const std::vector<engine::Engine*>& engines);

 private:
  observe::Metrics* const metrics_;
  Mutex mutex_;
  engine::EngineStats last_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_ENGINE_METRICS_H_
