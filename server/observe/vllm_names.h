// Metrics under the names that vLLM gives them, for dashboards and autoscalers that know those.
#ifndef LLAVA_SERVER_OBSERVE_VLLM_NAMES_H_
#define LLAVA_SERVER_OBSERVE_VLLM_NAMES_H_

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

namespace llava::observe {

// Adds to `families` a copy of each that vLLM has, under its name and with its label model_name:
// requests running and waiting, KV cache use, preemptions, tokens, prefix cache, requests by
// finished_reason, and the times to the first token, between tokens, of prefill, decode, queue and
// whole requests. Units are equal; buckets are ours. What vLLM has and we do not is not there.
void AddVllmNames(const std::string& model, std::vector<prometheus::MetricFamily>* families);

}  // namespace llava::observe

#endif  // LLAVA_SERVER_OBSERVE_VLLM_NAMES_H_
