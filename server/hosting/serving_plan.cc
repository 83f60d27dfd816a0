#include "server/hosting/serving_plan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/attention_limits.h"
#include "base/status_macros.h"
#include "server/config/config_table.h"
#include "server/config/devices.h"

namespace llava::server {
namespace {

constexpr int kMostGpus = 8;  // of one machine

absl::StatusOr<PlannedService> Plan(const Config& config, const std::string& dir, Backend& backend,
                                    const std::string& device, std::int64_t memory) {
  ASSIGN_OR_RETURN(const DeviceFacts facts,
                   FactsBeforeLoading(config, dir, backend, device, memory));
  PlannedService plan = {.device = device,
                         .memory = memory,
                         .weights_format = config.weights,
                         .weights = facts.weights,
                         .kv_cache_format = config.kv_cache,
                         .defaults = {},
                         .tokens = 0,
                         .conversations = 0};
  if (plan.weights > memory) return plan;
  plan.defaults = ChooseDefaults(config, facts);
  plan.tokens = plan.defaults.kv_cache_bytes / facts.block * kKvBlockTokens;
  plan.conversations = plan.tokens / facts.context_tokens;
  return plan;
}

// Whether a checkpoint, which may be codes already, can be served as `weights` on such a device.
bool IsServed(const model::LlavaConfig& llava, const std::string& weights,
              const std::string& device) {
  if (!CheckWeights(weights, device).ok()) return false;
  if (llava.quantization == model::Quantization::kNone) return true;
  return weights == "auto" &&
         CheckWeights(model::QuantizationName(llava.quantization), device).ok();
}

// On one GPU; where it does not fit there, also on as few of them as it fits on.
absl::StatusOr<std::vector<PlannedService>> PlanGpus(const Config& config, const std::string& dir,
                                                     Backend& backend, std::int64_t bytes) {
  std::vector<PlannedService> plans;
  std::string devices = "cuda";
  for (int gpus = 1; gpus <= kMostGpus; gpus *= 2) {
    const auto plan = Plan(config, dir, backend, devices, bytes);
    // The model cannot be dealt out to so many.
    if (gpus > 1 && absl::IsInvalidArgument(plan.status())) break;
    RETURN_IF_ERROR(plan.status());
    if (gpus == 1 || plan->conversations > 0) plans.push_back(*plan);
    if (plan->conversations > 0) break;
    devices = absl::StrCat(devices, "+", devices);
  }
  return plans;
}

// "cuda", "2 cuda".
std::string DeviceText(const std::string& device) {
  const std::vector<std::string> ranks = RanksOf(device);
  return ranks.size() == 1 ? device : absl::StrCat(ranks.size(), " ", ranks.front());
}

std::string GiB(std::int64_t bytes) {
  return absl::StrFormat("%.2f", std::ldexp(static_cast<double>(bytes), -30));
}

}  // namespace

absl::StatusOr<std::vector<PlannedService>> PlanServices(const Config& config,
                                                         const std::string& dir, Backend& backend,
                                                         std::span<const std::int64_t> gpu_bytes) {
  std::vector<PlannedService> services;
  ASSIGN_OR_RETURN(const DeviceMemory here, backend.MemoryOf("cpu"));
  ASSIGN_OR_RETURN(const model::LlavaConfig llava, model::ReadConfig(dir, config.vision_tower));
  Config one = config;
  for (const absl::string_view weights : FindOption("weights")->choices) {
    one.weights = std::string(weights);
    if (!IsServed(llava, one.weights, "cpu")) continue;
    for (const absl::string_view kv_cache : FindOption("kv_cache")->choices) {
      one.kv_cache = std::string(kv_cache);
      if (!CheckKvCache(one.kv_cache, "cpu").ok()) continue;
      ASSIGN_OR_RETURN(services.emplace_back(), Plan(one, dir, backend, "cpu", here.free));
    }
  }
  for (const std::int64_t bytes : gpu_bytes) {
    for (const absl::string_view weights : FindOption("weights")->choices) {
      one.weights = std::string(weights);
      if (!IsServed(llava, one.weights, "cuda")) continue;
      for (const absl::string_view kv_cache : FindOption("kv_cache")->choices) {
        one.kv_cache = std::string(kv_cache);
        if (!CheckKvCache(one.kv_cache, "cuda").ok()) continue;
        ASSIGN_OR_RETURN(const auto plans, PlanGpus(one, dir, backend, bytes));
        services.insert(services.end(), plans.begin(), plans.end());
      }
    }
  }
  return services;
}

std::string ServingPlanText(std::span<const PlannedService> services, std::int64_t context_tokens) {
  std::string text =
      absl::StrFormat("%-6s %10s %-8s %11s %-8s %9s %10s %16s %8s  %s\n", "device", "free GiB",
                      "weights", "their GiB", "KV cache", "its GiB", "tokens",
                      absl::StrCat("of ", context_tokens, " tokens"), "running", "second version");
  for (const PlannedService& plan : services) {
    absl::StrAppendFormat(&text, "%-6s %10s %-8s %11s %-8s ", DeviceText(plan.device),
                          GiB(plan.memory), plan.weights_format, GiB(plan.weights),
                          plan.kv_cache_format);
    if (plan.conversations == 0) {
      text += "does not fit\n";
      continue;
    }
    absl::StrAppendFormat(&text, "%9s %10d %16d %8d  %s\n", GiB(plan.defaults.kv_cache_bytes),
                          plan.tokens, plan.conversations, plan.defaults.max_running,
                          plan.defaults.second_version_fits ? "fits beside" : "only by swap");
  }
  return text;
}

}  // namespace llava::server
