// What turns a checkpoint's folder into something engines can run. The real one knows files and
// LibTorch; tests use a fake.
#ifndef LLAVA_SERVER_REGISTRY_MODEL_LOADER_H_
#define LLAVA_SERVER_REGISTRY_MODEL_LOADER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "server/engine/engine.h"
#include "server/engine/executor.h"
#include "server/registry/probes.h"
#include "server/registry/processor.h"
#include "server/registry/version_state.h"

namespace llava::registry {

struct LoadedVersion {
  std::shared_ptr<const Processor> processor;
  std::vector<std::shared_ptr<const engine::LoadedModel>> models;  // one for each engine, in order
  std::vector<PreparedProbe> probes;
  std::int64_t bytes = 0;     // of the weights in memory, on the device that has most
  std::string number_format;  // of the weights as they run; of several devices' with "+" between
  // What stays claimed while the version is loaded, such as a lease on its folder.
  std::shared_ptr<const void> claim;
};

// Called by the registry's thread only, never by an engine's.
class ModelLoader {
 public:
  virtual ~ModelLoader() = default;

  // Which version lies in `dir`, by its manifest alone. NOT_FOUND, INVALID_ARGUMENT, DATA_LOSS.
  virtual absl::StatusOr<VersionIdentity> Identify(const std::string& dir) = 0;

  // Hashes, shapes, dtypes, tokenizer, no NaN. DATA_LOSS or FAILED_PRECONDITION naming the file;
  // ABORTED when another version than `version` lies there now.
  virtual absl::Status Verify(const std::string& dir, const Digest& version,
                              const ShouldContinue& should_continue) = 0;

  // Models of exactly that version. `beside`: other versions are loaded and answer, and are not to
  // be disturbed. ABORTED as above; RESOURCE_EXHAUSTED when there is not the memory.
  virtual absl::StatusOr<LoadedVersion> Load(const std::string& dir, const Digest& version,
                                             bool beside) = 0;

  // The engines for a version, in the order of its models, running. `beside`: those that there
  // are, FAILED_PRECONDITION when they cannot run it. Otherwise no engine holds a version, and
  // those of before may be gone when this returns.
  virtual absl::StatusOr<std::vector<engine::Engine*>> EnginesFor(const LoadedVersion& version,
                                                                  bool beside) = 0;

  // Drops a version that no engine holds any more, and gives its memory back to the system.
  virtual void Release(LoadedVersion version) = 0;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_MODEL_LOADER_H_
