#include "server/app/engine_metrics.h"

namespace llava::server {
namespace {

// Totals of all engines.
engine::EngineStats Sum(const std::vector<engine::Engine*>& engines) {
  engine::EngineStats sum;
  for (const engine::Engine* engine : engines) {
    const engine::EngineStats stats = engine->stats();
    sum.running += stats.running;
    sum.waiting += stats.waiting;
    sum.paused += stats.paused;
    sum.blocks_total += stats.blocks_total;
    sum.blocks_used += stats.blocks_used;
    sum.blocks_cached += stats.blocks_cached;
    sum.feature_bytes += stats.feature_bytes;
    sum.preemptions += stats.preemptions;
    sum.prompt_tokens += stats.prompt_tokens;
    sum.cached_prompt_tokens += stats.cached_prompt_tokens;
    sum.images_needed += stats.images_needed;
    sum.images_encoded += stats.images_encoded;
  }
  return sum;
}

void Grow(prometheus::Counter& counter, std::uint64_t before, std::uint64_t now) {
  if (now > before) counter.Increment(static_cast<double>(now - before));
}

}  // namespace

void EngineMetrics::OnStep(const engine::StepReport& report) {
  if (!report.status.ok()) metrics_->failed_steps.Increment();
  metrics_->step_seconds.Observe(Seconds(report.schedule + report.encode + report.forward));
  metrics_->step_schedule_seconds.Observe(Seconds(report.schedule));
  metrics_->step_tokens.Observe(report.tokens);
  metrics_->step_sequences.Observe(report.sequences);
}

void EngineMetrics::OnFirstToken(Duration since_arrival) {
  metrics_->time_to_first_token_seconds.Observe(Seconds(since_arrival));
}

void EngineMetrics::OnNextToken(Duration since_last) {
  metrics_->inter_token_seconds.Observe(Seconds(since_last));
}

void EngineMetrics::OnEnd(const scheduling::Request& request, const absl::Status&,
                          const scheduling::Usage& usage, Duration) {
  metrics_->queue_seconds.Observe(Seconds(usage.queue));
  if (!request.images.empty()) metrics_->encode_seconds.Observe(Seconds(usage.encode));
  metrics_->prefill_seconds.Observe(Seconds(usage.prefill));
  metrics_->decode_seconds.Observe(Seconds(usage.decode));
  metrics_->request_prompt_tokens.Observe(usage.prompt_tokens);
  metrics_->request_generated_tokens.Observe(usage.generated_tokens);
  metrics_->prompt_tokens.Increment(usage.prompt_tokens);
  metrics_->image_tokens.Increment(usage.image_tokens);
  metrics_->cached_tokens.Increment(usage.cached_tokens);
  metrics_->generated_tokens.Increment(usage.generated_tokens);
}

void EngineMetrics::OnCancelled(std::uint64_t steps) {
  metrics_->cancel_steps.Observe(static_cast<double>(steps));
}

void EngineMetrics::Refresh(const std::vector<engine::Engine*>& engines) {
  const engine::EngineStats now = Sum(engines);
  MutexLock lock(&mutex_);
  metrics_->running.Set(now.running);
  metrics_->waiting.Set(now.waiting);
  metrics_->paused.Set(now.paused);
  metrics_->kv_blocks_used.Set(now.blocks_used);
  metrics_->kv_blocks_cached.Set(now.blocks_cached);
  metrics_->kv_blocks_free.Set(now.blocks_total - now.blocks_used - now.blocks_cached);
  metrics_->image_cache_bytes.Set(static_cast<double>(now.feature_bytes));
  Grow(metrics_->preemptions, last_.preemptions, now.preemptions);
  Grow(metrics_->prefix_cache_queried_tokens, last_.prompt_tokens, now.prompt_tokens);
  Grow(metrics_->prefix_cache_hit_tokens, last_.cached_prompt_tokens, now.cached_prompt_tokens);
  Grow(metrics_->image_cache_misses, last_.images_encoded, now.images_encoded);
  Grow(metrics_->image_cache_hits, last_.images_needed - last_.images_encoded,
       now.images_needed - now.images_encoded);
  last_ = now;
}

}  // namespace llava::server
