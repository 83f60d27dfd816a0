#include "server/observe/vllm_names.h"

#include <array>
#include <map>
#include <string_view>

namespace llava::observe {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;

struct Name {
  std::string_view ours;
  const char* theirs;
};

constexpr std::array kNames = {
    Name{"llava_requests_running", "vllm:num_requests_running"},
    Name{"llava_requests_waiting", "vllm:num_requests_waiting"},
    Name{"llava_kv_cache_usage_ratio", "vllm:kv_cache_usage_perc"},
    Name{"llava_preemptions_total", "vllm:num_preemptions_total"},
    Name{"llava_prompt_tokens_total", "vllm:prompt_tokens_total"},
    Name{"llava_generated_tokens_total", "vllm:generation_tokens_total"},
    Name{"llava_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"},
    Name{"llava_inter_token_seconds", "vllm:inter_token_latency_seconds"},
    Name{"llava_request_seconds", "vllm:e2e_request_latency_seconds"},
    Name{"llava_queue_seconds", "vllm:request_queue_time_seconds"},
    Name{"llava_prefill_seconds", "vllm:request_prefill_time_seconds"},
    Name{"llava_decode_seconds", "vllm:request_decode_time_seconds"},
    Name{"llava_request_prompt_tokens", "vllm:request_prompt_tokens"},
    Name{"llava_request_generated_tokens", "vllm:request_generation_tokens"},
    // In tokens: those that were looked for, and those that were found.
    Name{"llava_prompt_tokens_total", "vllm:prefix_cache_queries_total"},
    Name{"llava_cached_tokens_total", "vllm:prefix_cache_hits_total"},
};

std::string LabelOf(const ClientMetric& metric, std::string_view name) {
  for (const ClientMetric::Label& label : metric.label) {
    if (label.name == name) return label.value;
  }
  return "";
}

// Requests that were answered, by why the answer ended.
MetricFamily Successes(const std::string& model, const MetricFamily& requests) {
  std::map<std::string, double> counts;
  for (const ClientMetric& metric : requests.metric) {
    if (LabelOf(metric, "status") != "OK") continue;
    counts[LabelOf(metric, "reason")] += metric.counter.value;
  }
  MetricFamily family{"vllm:request_success_total", requests.help, requests.type, {}};
  for (const auto& [reason, count] : counts) {
    ClientMetric metric;
    metric.label = {{"model_name", model}, {"finished_reason", reason}};
    metric.counter.value = count;
    family.metric.push_back(metric);
  }
  return family;
}

}  // namespace

void AddVllmNames(const std::string& model, std::vector<MetricFamily>* families) {
  std::vector<MetricFamily> added;
  for (const MetricFamily& family : *families) {
    if (family.name == "llava_requests_total") added.push_back(Successes(model, family));
    for (const Name& name : kNames) {
      if (family.name != name.ours) continue;
      MetricFamily copy = family;
      copy.name = name.theirs;
      for (ClientMetric& metric : copy.metric) metric.label.push_back({"model_name", model});
      added.push_back(std::move(copy));
    }
  }
  families->insert(families->end(), added.begin(), added.end());
}

}  // namespace llava::observe
