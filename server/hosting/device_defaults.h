// What `auto` stands for on a device: the settings of an engine from the memory that there is and
// from the model that runs. The figures for GPUs rest on the cost model of docs/benchmarks.md.
#ifndef LLAVA_SERVER_HOSTING_DEVICE_DEFAULTS_H_
#define LLAVA_SERVER_HOSTING_DEVICE_DEFAULTS_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "model/config/config.h"
#include "server/config/config.h"
#include "server/hosting/backend.h"

namespace llava::server {

// What is known of a device and of the model on it before its KV cache is made; of a sum of
// devices, of that which has least. Bytes.
struct DeviceFacts {
  std::string device;               // "cpu", "cuda:1"
  std::int64_t free = 0;            // with the weights loaded
  std::int64_t weights = 0;         // of one version, at the peak of its loading
  std::int64_t step = 0;            // what Backend::MeasureStep said
  std::int64_t block = 0;           // of one KV block, more than 0
  std::int64_t context_tokens = 0;  // of the longest conversation
  std::int64_t engines_there = 1;   // that share `free`, or devices of a sum that are CPUs
};

// The settings of one engine.
struct EngineDefaults {
  std::int64_t kv_cache_bytes = 0;
  std::int64_t max_batch_tokens = 0;
  std::int64_t max_running = 0;
  std::int64_t max_images_per_step = 0;
  std::string kv_cache_why;         // one sentence for operators
  bool second_version_fits = true;  // beside the first, as far as memory was kept for it
};

// The devices that an entry of the setting `devices` adds up, by rank: "cuda:0+cuda:1".
std::vector<std::string> RanksOf(const std::string& device);

// Whether it is a CPU, or a sum of them.
bool IsCpu(const std::string& device);

// How many of the entries, or of the devices that an entry adds up, share the memory of `device`.
std::int64_t EnginesThere(std::span<const std::string> entries, const std::string& device);

// The longest conversation: prompt and answer, as the settings and the model's positions allow.
std::int64_t ContextTokens(const Config& config, const model::LlavaConfig& llava);

// What is known of serving the checkpoint in `dir` on a device with `memory` bytes free, before
// anything is loaded: no step is measured. The errors are those of the files.
absl::StatusOr<DeviceFacts> FactsBeforeLoading(const Config& config, const std::string& dir,
                                               Backend& backend, const std::string& device,
                                               std::int64_t memory);

// Rows of the step that Backend::MeasureStep is to measure: max_batch_tokens.
std::int64_t BatchTokens(const Config& config, const std::string& device);

// What `config` says, and where it says `auto`, what is best on this device. Pure.
EngineDefaults ChooseDefaults(const Config& config, const DeviceFacts& facts);

// What a step may take while somebody reads; auto: on a CPU so long that a step does some work
// besides reading the weights, on a GPU, which reads them in milliseconds, what a person hardly
// sees.
Duration StepTime(const Config& config, const std::string& device);

// Threads that compute: those of `config`; auto: 1 when every device is a GPU, else what affinity
// and quotas leave to the process.
int ChooseThreads(const Config& config);

// Threads that prepare pictures; auto: one for each four CPUs of `available_cpus`, at least 2. A
// photograph of 12 megapixels takes 40 ms and more; two threads keep a small machine busy.
int ChoosePrepareThreads(const Config& config, double available_cpus);

// For --print-config: by the name of each option at `auto`, what that is here and why. The model's
// part comes from the configured checkpoint and from the memory that is free now, before anything
// is loaded; without a checkpoint, or with one that cannot be read, it says so.
std::map<std::string, std::string> ExplainDefaults(const Config& config, Backend& backend);

}  // namespace llava::server

#endif  // LLAVA_SERVER_HOSTING_DEVICE_DEFAULTS_H_
