// Every metric of the daemon by name. Base units; names are as Prometheus' guidelines want them.
//
// Cardinality is bounded: label values come from fixed sets, except tenants, of which the first
// kMaxTenantLabels have their own series and the others share "other".
#ifndef LLAVA_SERVER_OBSERVE_METRICS_H_
#define LLAVA_SERVER_OBSERVE_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <string>

#include "base/mutex.h"

namespace llava::observe {

inline constexpr int kMaxTenantLabels = 100;

// Thread-safe. The registry owns the metrics and outlives this.
class Metrics {
 public:
  explicit Metrics(prometheus::Registry* registry);

  // llava_requests_total: `protocol` is grpc or http, `status` the name of a status code, `reason`
  // how it ended: stop, length, cancelled, or what refused it.
  void CountRequest(const std::string& protocol, const std::string& status,
                    const std::string& reason);

  // llava_rejections_total: refused before it reached the engine.
  void CountRejection(const std::string& reason);

  // llava_tenant_tokens_total
  void CountTenantTokens(const std::string& tenant, double prompt, double generated);

  // llava_model_info: one series for the live version, none for the one before.
  void SetModelInfo(const std::string& model, const std::string& version, const std::string& dtype,
                    const std::string& device);

  void SetBuildInfo(const std::string& version);

 private:
  prometheus::Registry* const registry_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Counter>& rejections_;
  prometheus::Family<prometheus::Counter>& tenant_tokens_;
  prometheus::Family<prometheus::Gauge>& model_info_;
  Mutex mutex_;
  std::map<std::string, int> tenants_ ABSL_GUARDED_BY(mutex_);
  prometheus::Gauge* live_model_ ABSL_GUARDED_BY(mutex_) = nullptr;

 public:
  // Where a request's time goes.
  prometheus::Histogram& prepare_seconds;
  prometheus::Histogram& decode_image_seconds;
  prometheus::Histogram& queue_seconds;
  prometheus::Histogram& encode_seconds;
  prometheus::Histogram& prefill_seconds;
  prometheus::Histogram& decode_seconds;
  prometheus::Histogram& time_to_first_token_seconds;
  prometheus::Histogram& inter_token_seconds;
  prometheus::Histogram& request_seconds;

  // What it asks for.
  prometheus::Histogram& request_prompt_tokens;
  prometheus::Histogram& request_generated_tokens;
  prometheus::Histogram& request_images;

  prometheus::Counter& prompt_tokens;
  prometheus::Counter& image_tokens;
  prometheus::Counter& cached_tokens;
  prometheus::Counter& generated_tokens;

  // Steps of the engine.
  prometheus::Histogram& step_seconds;
  prometheus::Histogram& step_schedule_seconds;
  prometheus::Histogram& step_tokens;
  prometheus::Histogram& step_sequences;
  prometheus::Histogram& cancel_steps;
  prometheus::Counter& failed_steps;
  prometheus::Counter& preemptions;

  prometheus::Gauge& running;
  prometheus::Gauge& waiting;
  prometheus::Gauge& paused;
  prometheus::Gauge& preparing;
  prometheus::Gauge& ready;

  prometheus::Gauge& kv_blocks_used;
  prometheus::Gauge& kv_blocks_cached;
  prometheus::Gauge& kv_blocks_free;
  prometheus::Gauge& image_cache_bytes;
  prometheus::Counter& prefix_cache_queried_tokens;
  prometheus::Counter& prefix_cache_hit_tokens;
  prometheus::Counter& image_cache_hits;
  prometheus::Counter& image_cache_misses;
};

}  // namespace llava::observe

#endif  // LLAVA_SERVER_OBSERVE_METRICS_H_
