// A model version that answers: its words (Processor) and the engines that compute it.
#ifndef LLAVA_SERVER_REGISTRY_SERVED_MODEL_H_
#define LLAVA_SERVER_REGISTRY_SERVED_MODEL_H_

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "server/engine/engine.h"
#include "server/registry/canary.h"
#include "server/registry/processor.h"
#include "server/scheduling/request.h"

namespace llava::registry {

// Immutable and shared by the calls that run on it, so that a version is gone only when its last
// call has ended.
struct ServedModel {
  std::string name;                  // its own: in answers, logs and metrics
  std::vector<std::string> aliases;  // further names that clients may ask for
  std::string version;               // as answers show it: the digest in hexadecimal
  Digest digest;                     // what cache keys carry
  std::string number_format;         // LoadedVersion::number_format
  std::shared_ptr<const Processor> processor;
  std::vector<engine::Engine*> engines;  // at least one; outlive the model

  // Of a model with an adapter, whose name and aliases end with ":" and the adapter's name.
  std::string adapter_name = {};
  std::shared_ptr<const scheduling::Adapter> adapter = nullptr;  // null: the version as it is
  std::shared_ptr<const ServedModel> base = nullptr;             // that version

  // By its name or by an alias.
  bool IsNamed(absl::string_view asked) const {
    return asked == name || std::find(aliases.begin(), aliases.end(), asked) != aliases.end();
  }
};

// Which version answers a request, and how its answers went. Thread-safe.
class ModelDirectory {
 public:
  virtual ~ModelDirectory() = default;

  // `name` empty: the default model. `key` decides who sees a canary: equal keys see the same.
  // NOT_FOUND names the models there are; FAILED_PRECONDITION when no version of the model is live;
  // UNAVAILABLE while versions are swapped, with scheduling::RetryAfter.
  virtual absl::StatusOr<std::shared_ptr<const ServedModel>> Find(absl::string_view name,
                                                                  absl::string_view key) = 0;

  // The versions that answer now.
  virtual std::vector<std::shared_ptr<const ServedModel>> List() = 0;

  // While versions are swapped: keeps `then`, calls it once in some thread when Find has another
  // answer, and returns true. `then` must not block.
  virtual bool AfterSwap(std::function<void()> then) = 0;

  // Whether a canary is compared with the live version: answers should carry log-probabilities.
  virtual bool IsJudging() = 0;

  // One finished answer of a version.
  virtual void Observe(const Digest& version, const Observation& observation) = 0;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_SERVED_MODEL_H_
