#include "server/app/engine_metrics.h"

namespace llava::server {
namespace {

using engine::EngineStats;

// A metric that is the sum over all engines of a number in their stats.
struct Row {
  const char* name;
  const char* help;
  double (*get)(const EngineStats&);
  const char* label = nullptr;  // null: no label
  const char* value = "";
};

constexpr char kBlocks[] = "llava_kv_blocks";
constexpr char kBlocksHelp[] = "KV cache blocks by what they hold.";
constexpr char kImageCache[] = "llava_image_cache_requests_total";
constexpr char kImageCacheHelp[] = "Pictures looked up in the image feature cache.";

constexpr Row kGauges[] = {
    {"llava_requests_running", "Answers being computed.",
     [](const EngineStats& s) -> double { return s.scheduler.running; }},
    {"llava_requests_waiting", "Answers waiting for a place in the batch.",
     [](const EngineStats& s) -> double { return s.scheduler.waiting; }},
    {"llava_requests_paused", "Answers whose reader is slow.",
     [](const EngineStats& s) -> double { return s.scheduler.paused; }},
    {kBlocks, kBlocksHelp, [](const EngineStats& s) -> double { return s.scheduler.blocks_used; },
     "state", "used"},
    {kBlocks, kBlocksHelp, [](const EngineStats& s) -> double { return s.scheduler.blocks_cached; },
     "state", "cached"},
    {kBlocks, kBlocksHelp,
     [](const EngineStats& s) -> double {
       return s.scheduler.blocks_total - s.scheduler.blocks_used - s.scheduler.blocks_cached;
     },
     "state", "free"},
    {"llava_image_cache_bytes", "Bytes of cached image features.",
     [](const EngineStats& s) { return static_cast<double>(s.scheduler.feature_bytes); }},
    {"llava_cuda_graphs", "Sizes of steps and of pictures that are recorded on a GPU.",
     [](const EngineStats& s) { return static_cast<double>(s.graphs.held); }},
    {"llava_cuda_graph_bytes", "Memory that recorded steps take, about.",
     [](const EngineStats& s) { return static_cast<double>(s.graphs.bytes); }},
    {"llava_images_half_encoded", "Pictures whose encoding goes on in a later step.",
     [](const EngineStats& s) -> double { return s.scheduler.unfinished_images; }},
};

constexpr char kGraphs[] = "llava_cuda_graph_events_total";
constexpr char kGraphsHelp[] =
    "Sizes of steps and of pictures that were recorded or could not be, and those that ran with "
    "one launch.";

constexpr Row kCounters[] = {
    {"llava_preemptions_total", "Sequences that lost their KV blocks to others for a while.",
     [](const EngineStats& s) { return static_cast<double>(s.scheduler.planner.preemptions); }},
    {"llava_prefix_cache_queried_tokens_total", "Prompt tokens looked up in the prefix cache.",
     [](const EngineStats& s) { return static_cast<double>(s.scheduler.planner.prompt_tokens); }},
    {"llava_prefix_cache_hit_tokens_total", "Of these, tokens found there.",
     [](const EngineStats& s) {
       return static_cast<double>(s.scheduler.planner.cached_prompt_tokens);
     }},
    {"llava_drafted_tokens_total", "Tokens of answers that were guessed and computed on trial.",
     [](const EngineStats& s) { return static_cast<double>(s.scheduler.planner.drafted_tokens); }},
    {"llava_true_drafts_total", "Of these, tokens that were sampled: each has saved a step.",
     [](const EngineStats& s) { return static_cast<double>(s.scheduler.planner.true_drafts); }},
    {kImageCache, kImageCacheHelp,
     [](const EngineStats& s) {
       const scheduling::PlannerCounters& planner = s.scheduler.planner;
       return static_cast<double>(planner.images_needed - planner.images_encoded);
     },
     "result", "hit"},
    {kImageCache, kImageCacheHelp,
     [](const EngineStats& s) { return static_cast<double>(s.scheduler.planner.images_encoded); },
     "result", "miss"},
    {kGraphs, kGraphsHelp,
     [](const EngineStats& s) { return static_cast<double>(s.graphs.captures); }, "event",
     "capture"},
    {kGraphs, kGraphsHelp,
     [](const EngineStats& s) { return static_cast<double>(s.graphs.replays); }, "event", "replay"},
    {kGraphs, kGraphsHelp,
     [](const EngineStats& s) { return static_cast<double>(s.graphs.failures); }, "event",
     "failure"},
};

prometheus::Labels LabelsOf(const Row& row) {
  if (row.label == nullptr) return {};
  return {{row.label, row.value}};
}

double Sum(const Row& row, std::span<const EngineStats> engines) {
  double sum = 0;
  for (const EngineStats& stats : engines) sum += row.get(stats);
  return sum;
}

}  // namespace

EngineMetrics::EngineMetrics(observe::Metrics* metrics, prometheus::Registry* registry)
    : metrics_(metrics) {
  for (const Row& row : kGauges) {
    auto& family = prometheus::BuildGauge().Name(row.name).Help(row.help).Register(*registry);
    gauges_.push_back(&family.Add(LabelsOf(row)));
  }
  for (const Row& row : kCounters) {
    auto& family = prometheus::BuildCounter().Name(row.name).Help(row.help).Register(*registry);
    totals_.push_back({&family.Add(LabelsOf(row)), 0});
  }
}

void EngineMetrics::SetUsage(std::span<const EngineStats> engines) {
  double used = 0;
  double total = 0;
  for (const EngineStats& stats : engines) {
    used += stats.scheduler.blocks_used;
    total += stats.scheduler.blocks_total;
  }
  metrics_->kv_cache_usage.Set(total > 0 ? used / total : 0);
}

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

void EngineMetrics::Refresh(std::span<const EngineStats> engines) {
  MutexLock lock(&mutex_);
  for (std::size_t i = 0; i < gauges_.size(); ++i) gauges_[i]->Set(Sum(kGauges[i], engines));
  for (std::size_t i = 0; i < totals_.size(); ++i) {
    const double now = Sum(kCounters[i], engines);
    Total& total = totals_[i];
    total.counter->Increment(now < total.last ? now : now - total.last);
    total.last = now;
  }
  SetUsage(engines);
}

}  // namespace llava::server
