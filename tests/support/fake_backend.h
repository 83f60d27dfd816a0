// A backend whose model is tests/support/fake_executor.h: the whole daemon without LibTorch.
#ifndef LLAVA_TESTS_SUPPORT_FAKE_BACKEND_H_
#define LLAVA_TESTS_SUPPORT_FAKE_BACKEND_H_

#include <memory>
#include <string>

#include "base/clock.h"
#include "server/hosting/backend.h"

namespace llava::testing {

class FakeBackend final : public server::Backend {
 public:
  // Each step of an engine takes `step_time`.
  explicit FakeBackend(Duration step_time = {}) : step_time_(step_time) {}

  std::int64_t memory = 0;  // that a model is said to need

  absl::Status Verify(const server::Config&, const std::string&, int) override {
    return absl::OkStatus();
  }
  absl::StatusOr<std::int64_t> MemoryFor(const server::Config&, const std::string&) override {
    return memory;
  }
  absl::StatusOr<server::BackendModel> Load(const server::Config& config,
                                            const server::LoadRequest& request) override;
  absl::StatusOr<std::unique_ptr<engine::Executor>> MakeExecutor(const server::Config& config,
                                                                 const std::string& device,
                                                                 const engine::LoadedModel& model,
                                                                 int num_blocks) override;

 private:
  const Duration step_time_;
};

}  // namespace llava::testing

#endif  // LLAVA_TESTS_SUPPORT_FAKE_BACKEND_H_
