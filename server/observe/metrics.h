// The metrics that the daemon's parts count themselves. Base units; names are as Prometheus'
// guidelines want them.
//
// Cardinality is bounded: label values come from fixed sets, except tenants, of which the first
// kMaxTenantLabels have their own series and the others share "other"; so it is with adapters.
#ifndef LLAVA_SERVER_OBSERVE_METRICS_H_
#define LLAVA_SERVER_OBSERVE_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <map>
#include <set>
#include <string>

#include "base/mutex.h"
#include "server/observe/exemplars.h"

namespace llava::observe {

inline constexpr int kMaxTenantLabels = 100;
inline constexpr int kMaxAdapterLabels = 100;

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

  // llava_tenant_tokens_total. What is not UTF-8 in a name becomes U+FFFD: the exposition is UTF-8.
  void CountTenantTokens(const std::string& tenant, double prompt, double generated);

  // llava_adapter_requests_total and llava_adapter_tokens_total, of a request that was computed.
  void CountAdapterTokens(const std::string& adapter, double prompt, double generated);

  // llava_capture_dropped_turns_total: `reason` is why a turn of a tenant that has agreed is not
  // kept.
  void CountDroppedTurn(const std::string& reason);

  // llava_captured_tenant_bytes: these series and no other. What is not UTF-8 in a name becomes
  // U+FFFD.
  void SetCapturedBytes(const std::map<std::string, double>& by_tenant);

  // llava_feedback_total: `verdict` is up, down or none.
  void CountVerdict(const std::string& verdict);

  // llava_model_info: one series for the live version, none for the one before.
  void SetModelInfo(const std::string& model, const std::string& version, const std::string& dtype,
                    const std::string& device);

  void SetBuildInfo(const std::string& version, const std::string& commit);

 private:
  // Registers one; used by the members below while this is made.
  prometheus::Histogram& Values(const char* name, const char* help,
                                const prometheus::Histogram::BucketBoundaries& buckets);
  prometheus::Histogram& Times(const char* name, const char* help);       // 1 ms to 10 minutes
  prometheus::Histogram& ShortTimes(const char* name, const char* help);  // 50 us to 10 s
  prometheus::Histogram& Sizes(const char* name, const char* help, int up_to);  // powers of two
  prometheus::Counter& Total(const char* name, const char* help);
  prometheus::Gauge& Now(const char* name, const char* help);
  prometheus::Family<prometheus::Counter>& Totals(const char* name, const char* help);

  prometheus::Registry* const registry_;
  prometheus::Family<prometheus::Counter>& requests_ =
      Totals("llava_requests_total", "Requests by how they ended.");
  prometheus::Family<prometheus::Counter>& rejections_ =
      Totals("llava_rejections_total", "Requests refused before they reached an engine.");
  prometheus::Family<prometheus::Counter>& tenant_tokens_ =
      Totals("llava_tenant_tokens_total", "Tokens by tenant.");
  prometheus::Family<prometheus::Counter>& adapter_requests_ =
      Totals("llava_adapter_requests_total", "Requests computed with an adapter.");
  prometheus::Family<prometheus::Counter>& adapter_tokens_ =
      Totals("llava_adapter_tokens_total", "Tokens of requests with an adapter.");
  prometheus::Family<prometheus::Counter>& dropped_turns_ =
      Totals("llava_capture_dropped_turns_total", "Turns that could not be captured.");
  prometheus::Family<prometheus::Counter>& verdicts_ =
      Totals("llava_feedback_total", "Verdicts on captured answers.");
  prometheus::Family<prometheus::Gauge>& captured_tenant_bytes_;
  prometheus::Family<prometheus::Gauge>& model_info_;
  Mutex mutex_;
  std::set<std::string> adapters_ ABSL_GUARDED_BY(mutex_);  // that have series of their own
  std::set<std::string> tenants_ ABSL_GUARDED_BY(mutex_);   // that have series of their own
  prometheus::Gauge* live_model_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::map<std::string, prometheus::Gauge*> captured_tenants_ ABSL_GUARDED_BY(mutex_);

 public:
  // Where a request's time goes.
  prometheus::Histogram& prepare_seconds =
      Times("llava_prepare_seconds", "From arrival to the engine: pictures, template, tokenizer.");
  prometheus::Histogram& decode_image_seconds =
      Times("llava_decode_image_seconds", "Decoding and scaling one picture.");
  prometheus::Histogram& queue_seconds =
      Times("llava_queue_seconds", "From arrival to the first step.");
  prometheus::Histogram& encode_seconds =
      Times("llava_encode_seconds", "A request's time in the vision encoder, if any.");
  prometheus::Histogram& prefill_seconds =
      Times("llava_prefill_seconds", "From the first step to the first token.");
  prometheus::Histogram& decode_seconds =
      Times("llava_decode_seconds", "From the first token to the end.");
  prometheus::Histogram& time_to_first_token_seconds =
      Times("llava_time_to_first_token_seconds", "From arrival to the first token.");
  prometheus::Histogram& inter_token_seconds =
      ShortTimes("llava_inter_token_seconds", "From one token of an answer to the next.");
  prometheus::Histogram& request_seconds =
      Times("llava_request_seconds", "From arrival to the end.");

  // Of requests whose spans were sent to a collector.
  Exemplars time_to_first_token_exemplars;
  Exemplars request_exemplars;
  std::array<const Exemplars*, 2> exemplars() const {
    return {&time_to_first_token_exemplars, &request_exemplars};
  }

  // What it asks for.
  prometheus::Histogram& request_prompt_tokens =
      Sizes("llava_request_prompt_tokens", "Prompt tokens of one request.", 1 << 17);
  prometheus::Histogram& request_generated_tokens =
      Sizes("llava_request_generated_tokens", "Generated tokens of one request.", 1 << 17);
  prometheus::Histogram& request_images =
      Values("llava_request_images", "Pictures of one request.", {0, 1, 2, 4, 8, 16});

  prometheus::Counter& prompt_tokens =
      Total("llava_prompt_tokens_total", "Prompt tokens, cached ones too.");
  prometheus::Counter& image_tokens =
      Total("llava_image_tokens_total", "Prompt tokens of pictures.");
  prometheus::Counter& cached_tokens =
      Total("llava_cached_tokens_total", "Prompt tokens that the prefix cache spared.");
  prometheus::Counter& generated_tokens =
      Total("llava_generated_tokens_total", "Tokens of answers.");

  // Steps of the engine. What engines count themselves is in server/app/engine_metrics.cc.
  prometheus::Histogram& step_seconds = ShortTimes("llava_step_seconds", "One step of the engine.");
  prometheus::Histogram& step_schedule_seconds =
      ShortTimes("llava_step_schedule_seconds", "Of a step: deciding what runs.");
  prometheus::Histogram& step_tokens =
      Sizes("llava_step_tokens", "Tokens in one step's batch.", 1 << 16);
  prometheus::Histogram& step_sequences =
      Sizes("llava_step_sequences", "Sequences in one step's batch.", 4096);
  prometheus::Histogram& cancel_steps =
      Values("llava_cancel_steps",
             "Steps that began after a request was cancelled, or its client had gone, and before "
             "its KV blocks were free.",
             {0, 1, 2, 5, 10});
  prometheus::Counter& adapter_rejections =
      Total("llava_adapter_rejections_total",
            "Adapters that could not be loaded, failed their probes or were worse as canaries.");
  prometheus::Counter& failed_steps = Total("llava_failed_steps_total", "Steps that failed.");

  prometheus::Gauge& kv_cache_usage = Now(
      "llava_kv_cache_usage_ratio", "Share of the KV cache's blocks that answers hold, 0 to 1.");
  prometheus::Gauge& preparing =
      Now("llava_requests_preparing", "Requests in or before the prepare pool.");
  prometheus::Gauge& adapters = Now("llava_adapters", "Adapters that are served.");
  prometheus::Gauge& adapter_bytes =
      Now("llava_adapter_bytes", "Memory of adapters, those that drain too.");
  prometheus::Counter& captured_turns =
      Total("llava_captured_turns_total", "Turns that were written into shards.");
  prometheus::Gauge& captured_bytes =
      Now("llava_captured_bytes", "Files of captured turns and their verdicts.");
  prometheus::Gauge& ready = Now("llava_ready", "1 when the daemon wants requests.");
  prometheus::Gauge& draining =
      Now("llava_draining", "1 while accepted requests are finished and new ones are refused.");
  prometheus::Gauge& certificate_expiry =
      Now("llava_certificate_expiry_timestamp_seconds",
          "When the certificate in use ends, in Unix time; 0 without TLS.");
};

}  // namespace llava::observe

#endif  // LLAVA_SERVER_OBSERVE_METRICS_H_
