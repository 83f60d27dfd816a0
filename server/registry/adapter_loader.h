// What turns an adapter's folder into something that engines can run. The real one knows files and
// LibTorch; tests use a fake.
#ifndef LLAVA_SERVER_REGISTRY_ADAPTER_LOADER_H_
#define LLAVA_SERVER_REGISTRY_ADAPTER_LOADER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/registry/probes.h"
#include "server/registry/processor.h"
#include "server/scheduling/request.h"

namespace llava::registry {

struct LoadedAdapter {
  std::shared_ptr<const scheduling::Adapter> adapter;
  std::string base;        // as its configuration calls it; may be empty
  std::string targets;     // the modules that it changes, as its configuration says them
  int rank = 0;            // the greatest
  std::int64_t bytes = 0;  // in memory, of all devices
  std::vector<PreparedProbe> probes = {};  // which it must answer before it is served
};

// Called by the thread of AdapterTable, beside engines at work.
class AdapterLoader {
 public:
  virtual ~AdapterLoader() = default;

  // The adapter in `dir` beside a model whose words are `processor`: its files as its manifest says
  // they are, where it has one. FAILED_PRECONDITION when it is for another language model,
  // RESOURCE_EXHAUSTED for more than `max_bytes`; else the errors of its files, UNIMPLEMENTED for
  // what is not supported.
  virtual absl::StatusOr<LoadedAdapter> LoadAdapter(const std::string& dir,
                                                    const Processor& processor,
                                                    std::int64_t max_bytes,
                                                    const ShouldContinue& should_continue) = 0;
};

// Whether an adapter can be called so: INVALID_ARGUMENT for what is not 1 to 64 letters, digits,
// '.', '_' and '-'.
absl::Status CheckAdapterName(const std::string& name);

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_ADAPTER_LOADER_H_
