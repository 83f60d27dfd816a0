// The versions of the daemon's model: takes new ones in, shows them to a few, makes them live, and
// takes them back when they are worse. What it cannot vouch for never touches the live version.
#ifndef LLAVA_SERVER_REGISTRY_REGISTRY_H_
#define LLAVA_SERVER_REGISTRY_REGISTRY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/registry/canary.h"
#include "server/registry/model_loader.h"
#include "server/registry/served_model.h"
#include "server/registry/version_state.h"

namespace llava::registry {

struct RegistryOptions {
  std::string model_name;
  CanaryOptions canary;
  // The version before the live one stays loaded, so that a rollback takes effect at once.
  bool keep_previous = true;
};

// Thread-safe. Loading happens in the registry's own thread; promoting and rolling back take effect
// in the caller's. A version is freed when the last call that runs on it has dropped its
// ServedModel; so all of them must be dropped before the registry goes.
class Registry final : public ModelDirectory {
 public:
  // Tells every change of a state, in order, from the registry's thread.
  using OnChange = std::function<void(const VersionInfo&)>;

  // `loader`, `engines` (at least one, running) and `clock` outlive the registry.
  Registry(RegistryOptions options, ModelLoader* loader, std::vector<engine::Engine*> engines,
           const Clock* clock, OnChange on_change);
  ~Registry() override;  // REQUIRES: Stop() was called, or Start() was not.

  void Start();
  void Stop();  // what is being loaded is finished first

  // Takes the version in `dir` on its way to live. `again`: also when it was rejected before; a
  // watcher does not ask for that. RESOURCE_EXHAUSTED when too many are queued. What becomes of it
  // is seen in Versions().
  absl::Status Load(const std::string& dir, bool again);

  // The canary becomes live now. FAILED_PRECONDITION without a canary.
  absl::Status Promote();

  // The canary goes; without one the live version goes and the kept one is live again, at once.
  // FAILED_PRECONDITION when there is nothing to go back to.
  absl::Status RollBack(const std::string& reason);

  // The canary's share of the tenants. INVALID_ARGUMENT outside [0, 1]; FAILED_PRECONDITION without
  // a canary.
  absl::Status SetTraffic(double share);

  // One finished answer of a version; may promote or roll back the canary.
  void Observe(const Digest& version, const Observation& observation);

  // Oldest first; those that are gone are remembered up to a bounded number.
  std::vector<VersionInfo> Versions() const;

  absl::StatusOr<std::shared_ptr<const ServedModel>> Find(absl::string_view name,
                                                          absl::string_view tenant) override;
  std::vector<std::shared_ptr<const ServedModel>> List() override;

  // One turn of the thread, for tests: everything that is to be done now. REQUIRES: no Start().
  void RunOnce();

 private:
  struct Entry {
    VersionInfo info;
    std::shared_ptr<const ServedModel> served;
  };
  struct Command {
    std::string dir;
    bool again = false;
  };
  // A model that nobody is to get any more; dropped without the lock, because that may free it.
  using Retired = std::shared_ptr<const ServedModel>;

  void Run();
  void LoadNow(const Command& command);
  Entry* Discover(const Command& command);
  absl::Status TakeIn(Entry* entry);
  absl::Status AddToEngines(const Digest& digest, const LoadedVersion& loaded);
  absl::Status Warm(const Digest& digest);
  absl::Status RunProbes(const Digest& digest, const std::vector<PreparedProbe>& probes);
  absl::StatusOr<std::vector<std::int32_t>> Ask(engine::Engine& engine,
                                                scheduling::Request request);
  void RemoveFromEngines(const Digest& digest);
  void FreeUnused();
  void FreeNow(const Digest& digest);
  void JudgeCanary();
  void TellChanges();

  void SetState(Entry& entry, VersionState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Retired Retire(Entry& entry, const std::string& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Retired> MakeLive(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Retired> ActOn(Verdict verdict, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Entry* FindEntry(const Digest& digest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Entry* In(VersionState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetOld() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RegistryOptions options_;
  ModelLoader* const loader_;
  const std::vector<engine::Engine*> engines_;
  const Clock* const clock_;
  const OnChange on_change_;

  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<Command> commands_ ABSL_GUARDED_BY(mutex_);
  std::vector<Digest> unused_ ABSL_GUARDED_BY(mutex_);        // draining, and nobody runs on them
  std::vector<VersionInfo> changes_ ABSL_GUARDED_BY(mutex_);  // not told yet
  std::optional<CanaryJudge> judge_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t anonymous_ ABSL_GUARDED_BY(mutex_) = 0;  // requests without a tenant
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_REGISTRY_H_
