#include "server/hosting/device_defaults.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/attention_limits.h"
#include "base/machine/cpu_count.h"
#include "base/status_macros.h"
#include "model/config/config.h"
#include "model/config/hub_folder.h"
#include "server/config/config_table.h"
#include "server/config/devices.h"
#include "server/scheduling/limits.h"

namespace llava::server {
namespace {

// A GPU is there for this process alone; the rest is for other users of the driver and for
// fragments between blocks.
constexpr double kGpuShare = 0.92;
// Memory of CPUs is also that of pictures and requests on their way, and of whatever else runs.
constexpr double kCpuShare = 0.5;
constexpr std::int64_t kGpuBatchTokens = 2048;
constexpr std::int64_t kCpuBatchTokens = 512;
// More answers at a time than these gain little: a GPU's products are bound by arithmetic then, and
// a CPU's have been long before.
constexpr std::int64_t kGpuMaxRunning = 256;
constexpr std::int64_t kCpuMaxRunning = 64;
// Of the KV cache, for each answer: a picture, a question and half of an answer.
constexpr std::int64_t kTokensPerAnswer = 512;

std::string GiB(std::int64_t bytes) {
  return absl::StrFormat("%.2f GiB", std::ldexp(static_cast<double>(bytes), -30));
}

std::int64_t MostRunning(const DeviceFacts& facts) {
  return IsCpu(facts.device) ? kCpuMaxRunning : kGpuMaxRunning;
}

std::int64_t TokensIn(std::int64_t bytes, const DeviceFacts& facts) {
  const std::int64_t blocks = std::min<std::int64_t>(bytes / facts.block, scheduling::kMaxBlocks);
  return blocks * kKvBlockTokens;
}

struct KvCacheChoice {
  std::int64_t bytes = 0;
  bool beside = false;  // whether a second version was thought of
};

// What is left to adapters where the configuration names some.
std::int64_t AdapterBytes(const Config& config) {
  return config.adapters.empty() ? 0 : config.adapter_bytes;
}

KvCacheChoice ChooseKvCache(const Config& config, const DeviceFacts& facts, bool beside) {
  const double share = IsCpu(facts.device) ? kCpuShare : kGpuShare;
  const std::int64_t others = facts.step + config.image_cache_bytes + AdapterBytes(config) +
                              (IsCpu(facts.device) ? config.memory_reserve_bytes : 0) +
                              (beside ? facts.weights : 0);
  const auto available = static_cast<std::int64_t>(share * static_cast<double>(facts.free));
  std::int64_t bytes = std::max<std::int64_t>(0, available - others) / facts.engines_there;
  if (IsCpu(facts.device)) {
    const std::int64_t blocks = (facts.context_tokens + kKvBlockTokens - 1) / kKvBlockTokens;
    const std::int64_t running = config.max_running.value_or(kCpuMaxRunning);
    bytes = std::min(bytes, running * blocks * facts.block);
  }
  return {bytes, beside};
}

std::string Why(const Config& config, const DeviceFacts& facts, bool wants_second, bool second) {
  std::string why =
      absl::StrCat(IsCpu(facts.device) ? "at most half of " : "92 % of ", GiB(facts.free), " that ",
                   facts.device, " has free beside the weights, less ",
                   GiB(config.image_cache_bytes), " for encoded pictures");
  if (IsCpu(facts.device)) {
    absl::StrAppend(&why, ", ", GiB(config.memory_reserve_bytes), " of memory_reserve_bytes");
  }
  if (facts.step > 0) absl::StrAppend(&why, ", ", GiB(facts.step), " for a step");
  if (AdapterBytes(config) > 0) {
    absl::StrAppend(&why, ", ", GiB(AdapterBytes(config)), " of adapter_bytes");
  }
  if (second) absl::StrAppend(&why, ", ", GiB(facts.weights), " for a second version");
  if (facts.engines_there > 1) {
    absl::StrAppend(&why, ", for each of ", facts.engines_there,
                    RanksOf(facts.device).size() > 1 ? " devices" : " engines");
  }
  if (IsCpu(facts.device)) absl::StrAppend(&why, ", and no more than all answers can use");
  if (wants_second && !second) {
    absl::StrAppend(&why, "; there is no room for a second version (", GiB(facts.weights),
                    "), so that only `reload: swap` will work");
  }
  return why;
}

}  // namespace

std::vector<std::string> RanksOf(const std::string& device) { return absl::StrSplit(device, '+'); }

bool IsCpu(const std::string& device) { return RanksOf(device).front() == "cpu"; }

std::int64_t EnginesThere(std::span<const std::string> entries, const std::string& device) {
  std::int64_t most = 0;
  for (const std::string& rank : RanksOf(device)) {
    std::int64_t there = 0;
    for (const std::string& entry : entries) there += absl::c_count(RanksOf(entry), rank);
    most = std::max(most, there);
  }
  return most;
}

std::int64_t ContextTokens(const Config& config, const model::LlavaConfig& llava) {
  return std::min<std::int64_t>(config.max_context_tokens, llava.text.max_positions);
}

std::int64_t BatchTokens(const Config& config, const std::string& device) {
  if (config.max_batch_tokens.has_value()) return *config.max_batch_tokens;
  return std::max(IsCpu(device) ? kCpuBatchTokens : kGpuBatchTokens,
                  config.max_running.value_or(1));
}

EngineDefaults ChooseDefaults(const Config& config, const DeviceFacts& facts) {
  const bool wants_second = config.reload == "beside";
  EngineDefaults chosen;
  KvCacheChoice kv = ChooseKvCache(config, facts, wants_second);
  // Answers now are worth more than versions later.
  if (wants_second && TokensIn(kv.bytes, facts) < 2 * facts.context_tokens) {
    const KvCacheChoice alone = ChooseKvCache(config, facts, false);
    if (alone.bytes > kv.bytes) kv = alone;
  }
  chosen.second_version_fits = !wants_second || kv.beside;
  chosen.kv_cache_bytes = config.kv_cache_bytes.value_or(kv.bytes);
  chosen.kv_cache_why = config.kv_cache_bytes.has_value()
                            ? "set by kv_cache_bytes"
                            : Why(config, facts, wants_second, kv.beside && wants_second);
  chosen.max_batch_tokens = BatchTokens(config, facts.device);
  const std::int64_t places = TokensIn(chosen.kv_cache_bytes, facts) / kTokensPerAnswer;
  const std::int64_t least = std::min(config.max_n, chosen.max_batch_tokens);
  const std::int64_t most = std::min(MostRunning(facts), chosen.max_batch_tokens);
  chosen.max_running =
      config.max_running.value_or(std::clamp(places, least, std::max(least, most)));
  chosen.max_images_per_step = config.max_images_per_step.value_or(1);
  return chosen;
}

absl::StatusOr<DeviceFacts> FactsBeforeLoading(const Config& config, const std::string& dir,
                                               Backend& backend, const std::string& device,
                                               std::int64_t memory) {
  ASSIGN_OR_RETURN(const model::LlavaConfig llava, model::ReadConfig(dir, config.vision_tower));
  // As on CPUs, whose values are padded to whole vectors: the device need not be here.
  const std::vector<std::string> cpus(RanksOf(device).size(), "cpu");
  ASSIGN_OR_RETURN(const BackendModel model,
                   backend.Describe(config, dir, absl::StrJoin(cpus, "+")));
  ASSIGN_OR_RETURN(const std::int64_t weights, backend.MemoryFor(config, dir, device));
  return DeviceFacts{.device = device,
                     .free = std::max<std::int64_t>(0, memory - weights),
                     .weights = weights,
                     .step = 0,
                     .block = model.block_bytes,
                     .context_tokens = ContextTokens(config, llava)};
}

namespace {

// Of the configured checkpoint, with the memory that is free now.
absl::StatusOr<DeviceFacts> FactsNow(const Config& config, Backend& backend,
                                     const std::string& device) {
  if (config.checkpoint.empty()) {
    return absl::NotFoundError("there is no checkpoint in this configuration");
  }
  ASSIGN_OR_RETURN(const DeviceMemory memory, backend.MemoryOf(device));
  ASSIGN_OR_RETURN(const std::string dir, model::SnapshotOf(config.checkpoint));
  ASSIGN_OR_RETURN(DeviceFacts facts,
                   FactsBeforeLoading(config, dir, backend, device, memory.free));
  facts.engines_there = EnginesThere(config.devices, device);
  return facts;
}

// What `weights: auto` is on a device, and what it is not.
std::string WeightsNote(const Config& config, Backend& backend, const DeviceFacts& facts,
                        const std::string& dir) {
  std::string note = absl::StrCat(facts.device, ": as the checkpoint holds them, ",
                                  GiB(facts.weights), " at the peak");
  const auto llava = model::ReadConfig(dir, config.vision_tower);
  if (!llava.ok() || llava->quantization != model::Quantization::kNone) return note + ".";
  absl::StrAppend(&note, "; fewer bits change answers");
  Config other = config;
  for (const absl::string_view weights : FindOption("weights")->choices) {
    other.weights = std::string(weights);
    if (weights == "auto" || !CheckWeights(other.weights, facts.device).ok()) continue;
    const auto bytes = backend.MemoryFor(other, dir, facts.device);
    if (bytes.ok()) absl::StrAppend(&note, ", ", weights, " would take ", GiB(*bytes));
  }
  return absl::StrCat(note, ".");
}

}  // namespace

Duration StepTime(const Config& config, const std::string& device) {
  return config.max_step_time.value_or(std::chrono::milliseconds(IsCpu(device) ? 250 : 50));
}

int ChooseThreads(const Config& config) {
  if (config.threads.has_value()) return static_cast<int>(*config.threads);
  return absl::c_none_of(config.devices, IsCpu) ? 1 : ComputeThreads();
}

int ChoosePrepareThreads(const Config& config, double available_cpus) {
  if (config.prepare_threads.has_value()) return static_cast<int>(*config.prepare_threads);
  return std::clamp(static_cast<int>(available_cpus / 4), 2, 256);
}

std::map<std::string, std::string> ExplainDefaults(const Config& config, Backend& backend) {
  std::map<std::string, std::string> notes;
  const auto add = [&notes](const char* option, bool is_auto, const std::string& note) {
    if (!is_auto) return;
    std::string& all = notes[option];
    absl::StrAppend(&all, all.empty() ? "" : " ", note);
  };
  for (const std::string& device : std::set(config.devices.begin(), config.devices.end())) {
    const auto step =
        std::chrono::duration_cast<std::chrono::milliseconds>(StepTime(config, device));
    add("max_step_time", !config.max_step_time.has_value(),
        absl::StrCat(device, ": ", step.count(), "ms."));
    const auto facts = FactsNow(config, backend, device);
    if (!facts.ok()) {
      add("kv_cache_bytes", !config.kv_cache_bytes.has_value(),
          absl::StrCat(device, ": chosen when a model is loaded, because now ",
                       facts.status().message(), "."));
      continue;
    }
    const auto dir = model::SnapshotOf(config.checkpoint);
    if (dir.ok()) {
      add("weights", config.weights == "auto", WeightsNote(config, backend, *facts, *dir));
    }
    const EngineDefaults chosen = ChooseDefaults(config, *facts);
    add("kv_cache_bytes", !config.kv_cache_bytes.has_value(),
        absl::StrCat(device, ": ", chosen.kv_cache_bytes, ", ", chosen.kv_cache_why, "."));
    add("max_running", !config.max_running.has_value(),
        absl::StrCat(device, ": ", chosen.max_running, "."));
    add("max_batch_tokens", !config.max_batch_tokens.has_value(),
        absl::StrCat(device, ": ", chosen.max_batch_tokens, "."));
    add("max_images_per_step", !config.max_images_per_step.has_value(),
        absl::StrCat(device, ": ", chosen.max_images_per_step, "."));
  }
  add("threads", !config.threads.has_value(), absl::StrCat("Here ", ChooseThreads(config), "."));
  add("prepare_threads", !config.prepare_threads.has_value(),
      absl::StrCat("Here ", ChoosePrepareThreads(config, AvailableCpus()), "."));
  return notes;
}

}  // namespace llava::server
