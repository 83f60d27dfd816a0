// Checkpoints as versions that engines run: what the registry's ModelLoader is in the daemon. Knows
// the files; the tensors are the backend's.
#ifndef LLAVA_SERVER_HOSTING_MODEL_HOST_H_
#define LLAVA_SERVER_HOSTING_MODEL_HOST_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "model/checkpoint/manifest.h"
#include "model/text/chat_template.h"
#include "server/config/config.h"
#include "server/engine/engine.h"
#include "server/engine/observer.h"
#include "server/hosting/backend.h"
#include "server/hosting/device_defaults.h"
#include "server/observe/log.h"
#include "server/registry/adapter_loader.h"
#include "server/registry/model_loader.h"

namespace llava::server {

// Owns the engines, one a device; they are made for the first version, because the size of their KV
// blocks is the model's. The ModelLoader's methods are for the registry's thread alone.
class ModelHost final : public registry::ModelLoader, public registry::AdapterLoader {
 public:
  // All pointers outlive the host.
  ModelHost(const Config& config, Backend* backend, const Clock* clock, const observe::Log* log,
            engine::Observer* observer);
  ~ModelHost() override;

  absl::StatusOr<registry::VersionIdentity> Identify(const std::string& dir) override;
  absl::Status Verify(const std::string& dir, const Digest& version,
                      const registry::ShouldContinue& should_continue) override;
  absl::StatusOr<registry::LoadedVersion> Load(const std::string& dir, const Digest& version,
                                               bool beside) override;
  absl::StatusOr<std::vector<engine::Engine*>> EnginesFor(const registry::LoadedVersion& version,
                                                          bool beside) override;
  void Release(registry::LoadedVersion version) override;

  // Any thread, one at a time.
  absl::StatusOr<registry::LoadedAdapter> LoadAdapter(
      const std::string& dir, const registry::Processor& processor, std::int64_t max_bytes,
      const registry::ShouldContinue& should_continue) override;

  // Any thread. `look` sees the engines there are, which stay while it runs.
  void WithEngines(const std::function<void(const std::vector<engine::Engine*>&)>& look) const;
  // "bfloat16"; empty before the first version is loaded.
  std::string dtype() const;

  // Any thread. No engine is made any more, and those that there are end what is left.
  void StopEngines();

 private:
  absl::Status RunOnLoaderThread(std::function<absl::Status()> work);
  absl::Status VerifyFolder(const std::string& dir,
                            const registry::ShouldContinue& should_continue) const;
  absl::StatusOr<registry::LoadedVersion> LoadModels(const std::string& dir, const Digest& version,
                                                     bool beside);
  bool Serving() const;
  absl::Status CheckIsThere(const std::string& dir, const Digest& version);
  absl::Status CheckMemory(const std::string& dir, bool beside) const;
  using TemplateOf = std::function<absl::StatusOr<model::ChatTemplate>(const model::Probe&)>;
  absl::StatusOr<std::vector<registry::PreparedProbe>> ReadProbes(
      const std::string& dir, const registry::Processor& processor,
      const TemplateOf& template_of) const;
  // For the device of this index in the settings.
  absl::StatusOr<EngineDefaults> Choose(const registry::LoadedVersion& version,
                                        std::size_t index) const;
  void LogChoice(const EngineDefaults& chosen, const engine::EngineOptions& options) const;
  absl::Status MakeEngines(const registry::LoadedVersion& version);

  const Config config_;
  Backend* const backend_;
  const Clock* const clock_;
  const observe::Log* const log_;
  engine::Observer* const observer_;

  // Of the registry's thread, and of the loader that it waits for.
  std::vector<BackendModel> last_;                       // what Load loaded last, by device
  int max_context_tokens_ = 0;                           // of the engines
  BoundedQueue<std::function<absl::Status()>> jobs_{1};  // for the loader
  BoundedQueue<absl::Status> results_{1};                // by the loader

  mutable Mutex mutex_;
  std::vector<std::unique_ptr<engine::Engine>> engines_ ABSL_GUARDED_BY(mutex_);
  std::string dtype_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  std::jthread loader_;  // from the first version on that is loaded beside another; joined first
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_HOSTING_MODEL_HOST_H_
