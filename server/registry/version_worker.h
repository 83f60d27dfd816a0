// Does what the VersionLoader wants to be done, one thing after the other, and waits for each: the
// only part of the registry that talks to files (through ModelLoader and published.h) and engines.
#ifndef LLAVA_SERVER_REGISTRY_VERSION_WORKER_H_
#define LLAVA_SERVER_REGISTRY_VERSION_WORKER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "server/engine/engine.h"
#include "server/registry/model_loader.h"
#include "server/registry/probes.h"
#include "server/registry/version_loader.h"

namespace llava::registry {

// One thread at a time.
class VersionWorker {
 public:
  // In whatever thread drops the last reference to a version's ServedModel. Must not block.
  using OnLastUser = std::function<void(const Digest&)>;

  // Of `options` the names and `published` are used. `loader` and `clock` outlive the worker.
  // `should_continue` ends what is slow, and new work of a load.
  VersionWorker(const RegistryOptions& options, ModelLoader* loader, const Clock* clock,
                ShouldContinue should_continue, OnLastUser on_last_user);

  // Never throws: whatever is thrown meanwhile is an error of this work alone, INTERNAL, or
  // RESOURCE_EXHAUSTED when there was no memory.
  WorkResult Perform(const Work& work);

 private:
  struct Loaded {
    LoadedVersion version;
    std::vector<engine::Engine*> engines;  // that hold it, in the order of its models
  };

  WorkResult Do(const IdentifyWork& work);
  WorkResult Do(const StageWork& work);
  WorkResult Do(const FreeWork& work);
  WorkResult Do(const NoteWork& work);
  WorkResult Do(const ListWork& work);
  absl::Status LoadIntoEngines(const StageWork& work, Loaded* loaded);
  absl::Status AddToEngines(const Digest& version, Loaded* loaded);
  static void RemoveFromEngines(const Digest& version, Loaded* loaded);
  absl::Status WarmUp(const Digest& version, const Loaded& loaded);
  std::shared_ptr<const ServedModel> MakeServed(const Digest& version, const Loaded& loaded) const;

  const std::string model_name_;
  const std::vector<std::string> model_aliases_;
  const std::string published_;  // may be empty
  ModelLoader* const loader_;
  const Clock* const clock_;
  const ShouldContinue should_continue_;
  const ProbeRunner probes_;
  const OnLastUser on_last_user_;
  std::map<Digest, Loaded> loaded_;  // what engines hold
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_VERSION_WORKER_H_
