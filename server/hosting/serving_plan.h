// What serving a checkpoint takes and gives on devices of several sizes, before one is bought:
// `llavad inspect --plan`.
#ifndef LLAVA_SERVER_HOSTING_SERVING_PLAN_H_
#define LLAVA_SERVER_HOSTING_SERVING_PLAN_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "server/config/config.h"
#include "server/hosting/backend.h"
#include "server/hosting/device_defaults.h"

namespace llava::server {

// One way to serve it. Bytes.
struct PlannedService {
  std::string device;           // "cpu", "cuda", "cuda+cuda": two that share the model's layers
  std::int64_t memory = 0;      // that each device has free before anything is loaded
  std::string weights_format;   // the setting `weights`
  std::int64_t weights = 0;     // on one, at the peak; more than `memory`: it does not fit
  std::string kv_cache_format;  // the setting `kv_cache`
  EngineDefaults defaults;
  std::int64_t tokens = 0;         // of the KV cache
  std::int64_t conversations = 0;  // of max_context_tokens that fit into it; 0: it does not start
};

// The CPUs of this machine, with the memory that it can give now, in every format of weights and
// of the KV cache; then a GPU of each of `gpu_bytes` in every format of both, and where that is
// too little as few of them as are enough (2, 4 or 8), all other settings as in `config`. The
// errors are those of the files.
absl::StatusOr<std::vector<PlannedService>> PlanServices(const Config& config,
                                                         const std::string& dir, Backend& backend,
                                                         std::span<const std::int64_t> gpu_bytes);

// As a table of lines.
std::string ServingPlanText(std::span<const PlannedService> services, std::int64_t context_tokens);

}  // namespace llava::server

#endif  // LLAVA_SERVER_HOSTING_SERVING_PLAN_H_
