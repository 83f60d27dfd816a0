// What computes: LibTorch in llavad, a fake in the tests of everything around it.
#ifndef LLAVA_SERVER_HOSTING_BACKEND_H_
#define LLAVA_SERVER_HOSTING_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "server/config/config.h"
#include "server/engine/executor.h"
#include "server/registry/adapter_loader.h"

namespace llava::server {

// A model in the memory of a device, or of several that share its layers: "cuda:0+cuda:1".
struct BackendModel {
  std::shared_ptr<const engine::LoadedModel> model;
  std::string dtype;  // as it runs: float32, bfloat16, int8, int4, fp8; -kv_int8, -kv_fp8
  std::int64_t block_bytes = 0;              // of one KV block, all layers; on each device
  std::int64_t feature_bytes_per_token = 0;  // of an encoded image
  int encoder_parts = 1;                     // that a step can cut a tile's encoding into
};

// Bytes of one device, of several the one that has fewest; on CPUs what the machine and its control
// groups leave to this process.
struct DeviceMemory {
  std::int64_t total = 0;
  std::int64_t free = 0;
};

struct LoadRequest {
  std::string dir;
  Digest version;
  std::string device;
  int threads = 0;  // that compute meanwhile; 0: as many as serve
};

// Called by one thread at a time, which is no engine's, unless said otherwise.
class Backend {
 public:
  virtual ~Backend() = default;

  // Reads all of the weights, with so many threads (0: all): names, shapes, dtypes, no NaN. Errors
  // name file and tensor.
  virtual absl::Status Verify(const Config& config, const std::string& dir, int threads) = 0;

  // Bytes that Load will need on `device` at its peak; of several devices on the one that needs
  // most.
  virtual absl::StatusOr<std::int64_t> MemoryFor(const Config& config, const std::string& dir,
                                                 const std::string& device) = 0;

  // Of "cpu", "cuda", "cuda:N", or a sum of CPUs or of different GPUs. INVALID_ARGUMENT or
  // FAILED_PRECONDITION when there is no such device.
  virtual absl::StatusOr<DeviceMemory> MemoryOf(const std::string& device) = 0;

  // What Load would give, without a model: from the folder's config alone.
  virtual absl::StatusOr<BackendModel> Describe(const Config& config, const std::string& dir,
                                                const std::string& device) = 0;

  // Bytes that a step of `tokens` rows takes on a device beside weights, KV cache and features,
  // measured by running one on KV blocks of its own; the first request does not pay then for what
  // LibTorch does once. With what recorded steps may take, where `config` wants them. 0 on CPUs,
  // where nothing is run: their buffers are a small part of what kv_cache_bytes leaves there.
  virtual absl::StatusOr<std::int64_t> MeasureStep(const Config& config,
                                                   const engine::LoadedModel& model,
                                                   int tokens) = 0;

  // The errors are those of the files; INVALID_ARGUMENT for a model that cannot be dealt out to so
  // many devices; RESOURCE_EXHAUSTED for memory.
  virtual absl::StatusOr<BackendModel> Load(const Config& config, const LoadRequest& request) = 0;

  // A LoRA adapter in PEFT's layout for models with these products, on every device of the
  // configuration. Beside any other call, in another thread. Besides the files' errors,
  // FAILED_PRECONDITION when it is for other products, RESOURCE_EXHAUSTED for more than `max_bytes`
  // or no memory.
  virtual absl::StatusOr<registry::LoadedAdapter> LoadAdapter(const Config& config,
                                                              const std::string& dir,
                                                              const model::TextConfig& text,
                                                              std::int64_t max_bytes) = 0;

  // With memory for `num_blocks` KV blocks of models of this kind. RESOURCE_EXHAUSTED when there is
  // not so much.
  virtual absl::StatusOr<std::unique_ptr<engine::Executor>> MakeExecutor(
      const Config& config, const std::string& device, const engine::LoadedModel& model,
      int num_blocks) = 0;
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_HOSTING_BACKEND_H_
