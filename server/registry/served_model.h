// A model version that answers: its words (Preparer) and the engines that compute it.
#ifndef LLAVA_SERVER_REGISTRY_SERVED_MODEL_H_
#define LLAVA_SERVER_REGISTRY_SERVED_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "server/engine/engine.h"
#include "server/registry/preparer.h"

namespace llava::registry {

// Immutable and shared by the calls that run on it, so that a version is gone only when its last
// call has ended.
struct ServedModel {
  std::string name;
  std::string version;  // as answers show it
  Digest digest;        // what cache keys carry
  std::shared_ptr<const Preparer> preparer;
  std::vector<engine::Engine*> engines;  // at least one; outlive the model
};

// Which version answers a request. Thread-safe.
class ModelDirectory {
 public:
  virtual ~ModelDirectory() = default;

  // `name` empty: the default model. `tenant` decides who sees a canary. NOT_FOUND names the models
  // there are; FAILED_PRECONDITION when no version of the model is live.
  virtual absl::StatusOr<std::shared_ptr<const ServedModel>> Find(absl::string_view name,
                                                                  absl::string_view tenant) = 0;

  // The versions that answer now.
  virtual std::vector<std::shared_ptr<const ServedModel>> List() = 0;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_SERVED_MODEL_H_
