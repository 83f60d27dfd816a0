// Questions whose answers are known: what a version or an adapter must answer before anybody is
// served by it.
#ifndef LLAVA_SERVER_REGISTRY_PROBES_H_
#define LLAVA_SERVER_REGISTRY_PROBES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "server/engine/engine.h"
#include "server/scheduling/request.h"

namespace llava::registry {

// A question of the manifest, ready for an engine, and the ids that its answer must begin with.
struct PreparedProbe {
  std::string name;
  scheduling::Request request;  // greedy; max_tokens is the number of expected ids
  std::vector<std::int32_t> expected;
};

// OK, or why to give up; asked now and then during something slow.
using ShouldContinue = std::function<absl::Status()>;

// Asks engines, waits for the answers and compares their ids.
class ProbeRunner {
 public:
  // Both outlive the runner.
  ProbeRunner(const Clock* clock, const ShouldContinue* should_continue)
      : clock_(clock), should_continue_(should_continue) {}

  // Asks every engine every probe, of `version` and `adapter` (null: none). FAILED_PRECONDITION
  // names the first that was answered otherwise, with both.
  absl::Status Run(std::span<const PreparedProbe> probes, std::span<engine::Engine* const> engines,
                   const Digest& version,
                   const std::shared_ptr<const scheduling::Adapter>& adapter) const;

  // The ids that the engine answers, after those who are being served.
  absl::StatusOr<std::vector<std::int32_t>> RunGreedy(engine::Engine& engine,
                                                      scheduling::Request request) const;

 private:
  const Clock* const clock_;
  const ShouldContinue* const should_continue_;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_PROBES_H_
