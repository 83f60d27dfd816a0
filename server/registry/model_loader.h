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
#include "server/engine/executor.h"
#include "server/registry/preparer.h"
#include "server/scheduling/request.h"

namespace llava::registry {

// A question of the manifest, ready for an engine, and the ids that its answer must begin with.
struct PreparedProbe {
  std::string name;
  scheduling::Request request;  // greedy; max_tokens is the number of expected ids
  std::vector<std::int32_t> expected;
};

struct LoadedVersion {
  std::shared_ptr<const Preparer> preparer;
  std::vector<std::shared_ptr<const engine::LoadedModel>> models;  // one for each engine, in order
  std::vector<PreparedProbe> probes;
};

// Called by the registry's thread only, never by an engine's.
class ModelLoader {
 public:
  virtual ~ModelLoader() = default;

  // Which version lies in `dir`, by its manifest alone. NOT_FOUND, INVALID_ARGUMENT, DATA_LOSS.
  virtual absl::StatusOr<Digest> Identify(const std::string& dir) = 0;

  // Hashes, shapes, dtypes, tokenizer, no NaN. DATA_LOSS or FAILED_PRECONDITION naming the file.
  virtual absl::Status Verify(const std::string& dir) = 0;

  // Beside the versions that are loaded. RESOURCE_EXHAUSTED when both do not fit.
  virtual absl::StatusOr<LoadedVersion> Load(const std::string& dir) = 0;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_MODEL_LOADER_H_
