// What computes: LibTorch in llavad, a fake in the tests of everything around it.
#ifndef LLAVA_SERVER_BACKEND_H_
#define LLAVA_SERVER_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/config.h"
#include "server/engine/executor.h"

namespace llava::server {

// A model in the memory of one device.
struct BackendModel {
  std::shared_ptr<const engine::LoadedModel> model;
  std::string dtype;                         // as it runs: float32, bfloat16
  std::int64_t block_bytes = 0;              // of one KV block, all layers
  std::int64_t feature_bytes_per_token = 0;  // of an encoded picture
};

// Called by the app's starting thread only.
class Backend {
 public:
  virtual ~Backend() = default;

  // Reads config.checkpoint. The errors are those of the files.
  virtual absl::StatusOr<BackendModel> Load(const Config& config, const std::string& device) = 0;

  // With memory for `num_blocks` KV blocks. RESOURCE_EXHAUSTED when there is not so much.
  virtual absl::StatusOr<std::unique_ptr<engine::Executor>> MakeExecutor(const Config& config,
                                                                         const std::string& device,
                                                                         const BackendModel& model,
                                                                         int num_blocks) = 0;
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_BACKEND_H_
