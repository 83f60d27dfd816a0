// A backend whose model is tests/support/fake_executor.h: the whole daemon without LibTorch.
#ifndef LLAVA_TESTS_SUPPORT_FAKE_BACKEND_H_
#define LLAVA_TESTS_SUPPORT_FAKE_BACKEND_H_

#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/machine/memory.h"
#include "server/hosting/backend.h"
#include "server/hosting/device_defaults.h"

namespace llava::testing {

class FakeBackend final : public server::Backend {
 public:
  // Each step of an engine takes `step_time`.
  explicit FakeBackend(Duration step_time = {}) : step_time_(step_time) {}

  std::int64_t memory = 0;  // that a model is said to need, of GPUs dealt out among them
  std::int64_t step = 0;    // that a step is said to need
  // Of each device that is no CPU: free and in all.
  std::int64_t device_memory = std::int64_t{8} << 30;
  std::int64_t block_bytes = 4096;  // of a device that has no others beside it
  int most_ranks = 4;               // that a model can be dealt out to
  int encoder_parts = 1;
  std::string answer;  // not empty: what every answer says, unless a form says something else

  absl::StatusOr<server::DeviceMemory> MemoryOf(const std::string& device) override {
    const std::int64_t bytes = server::IsCpu(device) ? AvailableMemory() : device_memory;
    return server::DeviceMemory{.total = bytes, .free = bytes};
  }
  absl::StatusOr<server::BackendModel> Describe(const server::Config&, const std::string&,
                                                const std::string&) override;
  absl::StatusOr<std::int64_t> MeasureStep(const server::Config&, const engine::LoadedModel&,
                                           int) override {
    return step;
  }

  absl::Status Verify(const server::Config&, const std::string&, int) override {
    return absl::OkStatus();
  }
  absl::StatusOr<std::int64_t> MemoryFor(const server::Config&, const std::string&,
                                         const std::string& device) override {
    return memory / (server::IsCpu(device) ? 1 : std::ssize(server::RanksOf(device)));
  }
  absl::StatusOr<server::BackendModel> Load(const server::Config& config,
                                            const server::LoadRequest& request) override;
  // The adapter is named by what adapter_config.json holds.
  absl::StatusOr<registry::LoadedAdapter> LoadAdapter(const server::Config& config,
                                                      const std::string& dir,
                                                      const model::TextConfig& text,
                                                      std::int64_t max_bytes) override;
  absl::StatusOr<std::unique_ptr<engine::Executor>> MakeExecutor(const server::Config& config,
                                                                 const std::string& device,
                                                                 const engine::LoadedModel& model,
                                                                 int num_blocks) override;

 private:
  const Duration step_time_;
  std::vector<std::int32_t> answer_ids_;  // and the end
};

}  // namespace llava::testing

#endif  // LLAVA_TESTS_SUPPORT_FAKE_BACKEND_H_
