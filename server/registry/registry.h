// The registry of model versions: its thread and its lock around the VersionLoader, which decides,
// the VersionWorker, which does, and the VersionDirectory, which requests see. README.md is the
// contract.
#ifndef LLAVA_SERVER_REGISTRY_REGISTRY_H_
#define LLAVA_SERVER_REGISTRY_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/registry/model_loader.h"
#include "server/registry/version_directory.h"
#include "server/registry/version_loader.h"
#include "server/registry/version_worker.h"

namespace llava::registry {

// Thread-safe. Loading happens in the registry's own thread; promoting and rolling back take effect
// in the caller's. A version is freed when the last call that runs on it has dropped its
// ServedModel; so all of them must be dropped before the registry goes.
class Registry {
 public:
  // Tells every change of a state, in order, under the registry's lock: it must neither call back
  // nor block. Find has the new answer already. `cause` is a word for metrics.
  using OnChange = std::function<void(const VersionInfo&, const std::string& cause)>;

  // `loader` and `clock` outlive the registry, and so do the loader's engines.
  Registry(const RegistryOptions& options, ModelLoader* loader, const Clock* clock,
           OnChange on_change);
  ~Registry();  // REQUIRES: Stop() was called, or Start() was not.

  void Start();

  // Nothing is taken in any more, and what is being loaded is given up where that is possible.
  void BeginStop();
  void Stop();  // BeginStop, and joins

  // Takes the version in `dir` on its way to live. Errors are those of LoadRequest.
  absl::StatusOr<Ticket> Load(const std::string& dir, Origin origin);

  // Nothing when it is not decided by `until`.
  std::optional<LoadOutcome> Await(const Ticket& ticket, TimePoint until);

  // The canary becomes live now. Errors of these four: VersionLoader::Step.
  absl::Status Promote() { return Step(PromoteRequest{}).status; }

  // The canary goes; without one the live version goes and the kept one is live again, at once.
  // REQUIRES: a reason.
  absl::Status RollBack(const std::string& reason) { return Step(RollBackRequest{reason}).status; }

  // The canary's share of the conversations.
  absl::Status SetTraffic(double share) { return Step(TrafficRequest{share}).status; }

  // The kept version or the canary goes, as soon as nobody runs on it.
  absl::Status Unload(const Digest& version) { return Step(UnloadRequest{version}).status; }

  VersionsSnapshot Snapshot() const;

  // Until there were more changes than `seen`; false when there were none by `until`.
  bool WaitForChange(std::uint64_t seen, TimePoint until);

  // What requests see.
  ModelDirectory& directory() { return directory_; }

  // One turn of the thread, for tests: everything that is to be done now. REQUIRES: no Start().
  void RunOnce();

 private:
  void Run();
  bool AwaitWork();
  StepOutput Step(LoaderEvent event);
  absl::Status CheckNotStopping() const;

  const Clock* const clock_;
  const OnChange on_change_;
  VersionDirectory directory_;
  VersionWorker worker_;  // of the registry's thread

  mutable Mutex mutex_;
  CondVar changed_;
  VersionLoader loader_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_REGISTRY_H_
