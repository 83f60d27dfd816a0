// What the registry's thread is in the daemon, on virtual time: checkpoints that verify, load and
// answer, or fail to, in simulated engines.
#ifndef LLAVA_TESTS_SIMULATION_REGISTRY_WORKER_H_
#define LLAVA_TESTS_SIMULATION_REGISTRY_WORKER_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/rng.h"
#include "server/engine/engine.h"
#include "server/registry/version_loader.h"
#include "tests/simulation/client.h"

namespace llava::simulation {

// A folder, and what its version is like.
struct Checkpoint {
  std::string dir;
  Digest version;
  double evaluation = 0.9;
  // Where it fails; kDiscovered: it cannot be identified, kFreed: nowhere.
  registry::VersionState fails_in = registry::VersionState::kFreed;
  bool fails_once = false;  // and not again
  bool garbles = false;     // its answers are degenerate
  double slowness = 1;      // times the usual

  bool is_good() const {
    return fails_in == registry::VersionState::kFreed && !garbles && slowness == 1 &&
           evaluation >= 0.9;
  }
};

// Does the loader's work, one thing at a time, as registry::VersionWorker does, but never waits:
// Poll says when it is done.
class SimulatedWorker {
 public:
  // All of it outlives the worker, which stops nothing. `context_tokens` is the engines'.
  SimulatedWorker(Rng* rng, ManualClock* clock, std::vector<engine::Engine*> engines,
                  int context_tokens, std::function<void(const Digest&)> on_last_user);

  bool busy() const { return work_.has_value(); }
  void Start(registry::Work work);  // REQUIRES: not busy

  // The result, once there is one. INTERNAL when an engine answered wrongly.
  absl::StatusOr<std::optional<registry::WorkResult>> Poll();

  const Checkpoint* Find(const Digest& version) const;

  std::vector<Checkpoint> disk;         // the oldest first
  std::map<Digest, std::string> notes;  // of rolled back versions
  bool faults = true;

 private:
  using Result = absl::StatusOr<std::optional<registry::WorkResult>>;
  Result PollOf(const registry::IdentifyWork& work);
  Result PollOf(const registry::StageWork& work);
  Result PollOf(const registry::FreeWork& work);
  Result PollOf(const registry::NoteWork& work);
  Result PollOf(const registry::ListWork& work);
  Result PollLoading(const registry::StageWork& work);
  Result PollAnswers(const registry::StageWork& work);
  bool PollRemoval(const Digest& version);
  bool Fails(Checkpoint* checkpoint, registry::VersionState stage) const;
  Checkpoint* At(const std::string& dir);
  std::shared_ptr<const registry::ServedModel> MakeServed(const Digest& version) const;

  Rng* const rng_;
  ManualClock* const clock_;
  const std::vector<engine::Engine*> engines_;
  const int context_tokens_;
  const std::function<void(const Digest&)> on_last_user_;

  std::optional<registry::Work> work_;
  TimePoint due_;
  bool begun_ = false;                 // the engines were asked
  bool removing_ = false;              // ... to let a version go
  std::size_t pending_ = 0;            // engines that have not replied
  std::vector<engine::Engine*> held_;  // that took the version in
  absl::Status failure_;
  std::vector<Client> answers_;  // of warming and probing
};

}  // namespace llava::simulation

#endif  // LLAVA_TESTS_SIMULATION_REGISTRY_WORKER_H_
