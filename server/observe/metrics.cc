#include "server/observe/metrics.h"

#include <vector>

namespace llava::observe {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Registry;
using Buckets = prometheus::Histogram::BucketBoundaries;

// About 1.5 between neighbours: from a cache hit on a small model to a long answer on a slow one.
Buckets SecondBuckets() {
  return {0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05,
          0.075, 0.1,    0.15,  0.2,   0.3,   0.5,    0.75, 1,     1.5,  2,    3,
          5,     7.5,    10,    15,    20,    30,     60,   120,   300,  600};
}

// Steps and gaps between tokens.
Buckets ShortBuckets() {
  return {0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01,
          0.0125,  0.015,  0.02,   0.025,  0.03,  0.04,  0.05,  0.06,  0.08,  0.1,   0.125, 0.15,
          0.2,     0.25,   0.3,    0.4,    0.5,   0.75,  1,     2,     5,     10};
}

Buckets PowersOfTwo(int up_to) {
  Buckets buckets;
  for (int value = 1; value <= up_to; value *= 2) buckets.push_back(value);
  return buckets;
}

prometheus::Histogram& Histogram(Registry* registry, const std::string& name,
                                 const std::string& help, const Buckets& buckets) {
  return BuildHistogram().Name(name).Help(help).Register(*registry).Add({}, buckets);
}

prometheus::Histogram& Time(Registry* registry, const std::string& name, const std::string& help) {
  return Histogram(registry, name, help, SecondBuckets());
}

prometheus::Counter& Counter(Registry* registry, const std::string& name, const std::string& help,
                             const prometheus::Labels& labels = {}) {
  return BuildCounter().Name(name).Help(help).Register(*registry).Add(labels);
}

prometheus::Gauge& Gauge(Registry* registry, const std::string& name, const std::string& help,
                         const prometheus::Labels& labels = {}) {
  return BuildGauge().Name(name).Help(help).Register(*registry).Add(labels);
}

constexpr const char* kBlocks = "llava_kv_blocks";
constexpr const char* kBlocksHelp = "KV cache blocks by what they hold.";
constexpr const char* kImageCache = "llava_image_cache_requests_total";
constexpr const char* kImageCacheHelp = "Pictures looked up in the image feature cache.";

}  // namespace

Metrics::Metrics(Registry* r)
    : registry_(r),
      requests_(BuildCounter()
                    .Name("llava_requests_total")
                    .Help("Requests by how they ended.")
                    .Register(*r)),
      rejections_(BuildCounter()
                      .Name("llava_rejections_total")
                      .Help("Requests refused before they reached an engine.")
                      .Register(*r)),
      tenant_tokens_(
          BuildCounter().Name("llava_tenant_tokens_total").Help("Tokens by tenant.").Register(*r)),
      model_info_(
          BuildGauge().Name("llava_model_info").Help("The live model version.").Register(*r)),
      prepare_seconds(Time(r, "llava_prepare_seconds",
                           "From arrival to the engine: pictures, template, tokenizer.")),
      decode_image_seconds(
          Time(r, "llava_decode_image_seconds", "Decoding and scaling one picture.")),
      queue_seconds(Time(r, "llava_queue_seconds", "From arrival to the first step.")),
      encode_seconds(
          Time(r, "llava_encode_seconds", "A request's time in the vision encoder, if any.")),
      prefill_seconds(Time(r, "llava_prefill_seconds", "From the first step to the first token.")),
      decode_seconds(Time(r, "llava_decode_seconds", "From the first token to the end.")),
      time_to_first_token_seconds(
          Time(r, "llava_time_to_first_token_seconds", "From arrival to the first token.")),
      inter_token_seconds(Histogram(r, "llava_inter_token_seconds",
                                    "From one token of an answer to the next.", ShortBuckets())),
      request_seconds(Time(r, "llava_request_seconds", "From arrival to the end.")),
      request_prompt_tokens(Histogram(r, "llava_request_prompt_tokens",
                                      "Prompt tokens of one request.", PowersOfTwo(1 << 17))),
      request_generated_tokens(Histogram(r, "llava_request_generated_tokens",
                                         "Generated tokens of one request.", PowersOfTwo(1 << 17))),
      request_images(
          Histogram(r, "llava_request_images", "Pictures of one request.", {0, 1, 2, 4, 8, 16})),
      prompt_tokens(Counter(r, "llava_prompt_tokens_total", "Prompt tokens, cached ones too.")),
      image_tokens(Counter(r, "llava_image_tokens_total", "Prompt tokens of pictures.")),
      cached_tokens(
          Counter(r, "llava_cached_tokens_total", "Prompt tokens that the prefix cache spared.")),
      generated_tokens(Counter(r, "llava_generated_tokens_total", "Tokens of answers.")),
      step_seconds(Histogram(r, "llava_step_seconds", "One step of the engine.", ShortBuckets())),
      step_schedule_seconds(Histogram(r, "llava_step_schedule_seconds",
                                      "Of a step: deciding what runs.", ShortBuckets())),
      step_tokens(
          Histogram(r, "llava_step_tokens", "Tokens in one step's batch.", PowersOfTwo(1 << 16))),
      step_sequences(Histogram(r, "llava_step_sequences", "Sequences in one step's batch.",
                               PowersOfTwo(4096))),
      cancel_steps(Histogram(r, "llava_cancel_steps",
                             "Steps that began after a request was cancelled, or its client had "
                             "gone, and before its KV blocks were free.",
                             {0, 1, 2, 5, 10})),
      failed_steps(Counter(r, "llava_failed_steps_total", "Steps that failed.")),
      preemptions(Counter(r, "llava_preemptions_total",
                          "Sequences that lost their KV blocks to others for a while.")),
      running(Gauge(r, "llava_requests_running", "Answers being computed.")),
      waiting(Gauge(r, "llava_requests_waiting", "Answers waiting for a place in the batch.")),
      paused(Gauge(r, "llava_requests_paused", "Answers whose reader is slow.")),
      preparing(Gauge(r, "llava_requests_preparing", "Requests in or before the prepare pool.")),
      ready(Gauge(r, "llava_ready", "1 when the daemon wants requests.")),
      kv_blocks_used(Gauge(r, kBlocks, kBlocksHelp, {{"state", "used"}})),
      kv_blocks_cached(Gauge(r, kBlocks, kBlocksHelp, {{"state", "cached"}})),
      kv_blocks_free(Gauge(r, kBlocks, kBlocksHelp, {{"state", "free"}})),
      image_cache_bytes(Gauge(r, "llava_image_cache_bytes", "Bytes of cached image features.")),
      prefix_cache_queried_tokens(Counter(r, "llava_prefix_cache_queried_tokens_total",
                                          "Prompt tokens looked up in the prefix cache.")),
      prefix_cache_hit_tokens(
          Counter(r, "llava_prefix_cache_hit_tokens_total", "Of these, tokens found there.")),
      image_cache_hits(Counter(r, kImageCache, kImageCacheHelp, {{"result", "hit"}})),
      image_cache_misses(Counter(r, kImageCache, kImageCacheHelp, {{"result", "miss"}})) {}

void Metrics::CountRequest(const std::string& protocol, const std::string& status,
                           const std::string& reason) {
  requests_.Add({{"protocol", protocol}, {"status", status}, {"reason", reason}}).Increment();
}

void Metrics::CountRejection(const std::string& reason) {
  rejections_.Add({{"reason", reason}}).Increment();
}

void Metrics::CountTenantTokens(const std::string& tenant, double prompt, double generated) {
  std::string label = tenant;
  {
    MutexLock lock(&mutex_);
    if (!tenants_.contains(tenant)) {
      if (tenants_.size() < static_cast<std::size_t>(kMaxTenantLabels)) {
        tenants_.emplace(tenant, 1);
      } else {
        label = "other";
      }
    }
  }
  tenant_tokens_.Add({{"tenant", label}, {"kind", "prompt"}}).Increment(prompt);
  tenant_tokens_.Add({{"tenant", label}, {"kind", "generated"}}).Increment(generated);
}

void Metrics::SetModelInfo(const std::string& model, const std::string& version,
                           const std::string& dtype, const std::string& device) {
  MutexLock lock(&mutex_);
  if (live_model_ != nullptr) model_info_.Remove(live_model_);
  live_model_ = &model_info_.Add(
      {{"model", model}, {"version", version}, {"dtype", dtype}, {"device", device}});
  live_model_->Set(1);
}

void Metrics::SetBuildInfo(const std::string& version) {
  Gauge(registry_, "llava_build_info", "The running program.", {{"version", version}}).Set(1);
}

}  // namespace llava::observe
