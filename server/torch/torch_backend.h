// The backend of llavad: checkpoints through LibTorch.
#ifndef LLAVA_SERVER_TORCH_TORCH_BACKEND_H_
#define LLAVA_SERVER_TORCH_TORCH_BACKEND_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/hosting/backend.h"

namespace llava::server {

class TorchBackend final : public Backend {
 public:
  absl::Status Verify(const Config& config, const std::string& dir, int threads) override;
  absl::StatusOr<std::int64_t> MemoryFor(const Config& config, const std::string& dir,
                                         const std::string& device) override;
  absl::StatusOr<DeviceMemory> MemoryOf(const std::string& device) override;
  absl::StatusOr<BackendModel> Describe(const Config& config, const std::string& dir,
                                        const std::string& device) override;
  absl::StatusOr<std::int64_t> MeasureStep(const Config& config, const engine::LoadedModel& model,
                                           int tokens) override;
  // The errors of Llava::Load for weights and device. dtype auto: bfloat16 for weights that were
  // saved in half precision, else float32.
  absl::StatusOr<BackendModel> Load(const Config& config, const LoadRequest& request) override;
  absl::StatusOr<registry::LoadedAdapter> LoadAdapter(const Config& config, const std::string& dir,
                                                      const model::TextConfig& text,
                                                      std::int64_t max_bytes) override;
  absl::StatusOr<std::unique_ptr<engine::Executor>> MakeExecutor(const Config& config,
                                                                 const std::string& device,
                                                                 const engine::LoadedModel& model,
                                                                 int num_blocks) override;
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_TORCH_TORCH_BACKEND_H_
