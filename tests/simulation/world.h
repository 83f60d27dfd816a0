// A simulated world around one engine: clients that come, read, stall, cancel and give deadlines; a
// device that fails and runs out of memory; a clock that jumps ahead in the middle of a step or of
// many, as when the machine is paused; model versions that come and go. All of it follows from one
// seed; each world has a random subset of the troubles ("swarm testing": Groce et al., 2012).
#ifndef LLAVA_TESTS_SIMULATION_WORLD_H_
#define LLAVA_TESTS_SIMULATION_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/rng.h"
#include "server/engine/admission_gate.h"
#include "server/engine/engine.h"
#include "server/scheduling/marks.h"
#include "tests/simulation/cache_ledger.h"
#include "tests/simulation/client.h"
#include "tests/simulation/step_watch.h"
#include "tests/support/fake_executor.h"

namespace llava::simulation {

// Which troubles this world has, and its sizes.
struct WorldPlan {
  bool images, cancels, deadlines, tenants, stalls, shortage, errors, out_of_memory, choices;
  bool priorities, versions, shared_prompts, sampling, tiny_device, stutters, domains;
  bool step_time, tiles, drafts;
  int max_live = 0;     // admission bound
  double arrivals = 0;  // a tick, on average
  int max_prompt = 0;
  int max_tokens = 0;
  int memory_limit = 0;  // tokens of a step that fit into the device, while it is short
  engine::EngineOptions engine;

  static WorldPlan Draw(Rng& rng);
  std::string ToString() const;
};

class World {
 public:
  World(std::uint64_t seed, scheduling::Marks* marks);
  ~World();

  // Faults on: every invariant holds after every tick. INTERNAL naming what broke.
  absl::Status RunFaultyPhase(int ticks);

  // Faults off, no arrivals, everybody reads: all requests end within a bounded number of ticks and
  // nothing is left behind.
  absl::Status RunDrain();

  const WorldPlan& plan() const { return plan_; }
  std::int64_t ticks() const { return tick_; }
  int longest_wait() const { return longest_wait_; }
  std::int64_t finished() const { return finished_; }
  const StepWatch& watch() const { return watch_; }

 private:
  absl::Status Tick();
  absl::Status Arrivals();
  absl::Status Cancels();
  absl::Status ReadAll();
  absl::Status CheckEnd(const Client& client) const;
  absl::Status CheckCause(const Client& client) const;
  absl::Status CheckWait(Client& client, std::int64_t tokens_before);
  absl::Status CheckLeftovers();
  void ChangeVersions();
  void Stutter();
  bool IsIdle() const;
  void ArmFaults();
  ClientSpec DrawRequest();
  void DrawSampling(scheduling::Request& request);
  void AddImages(scheduling::Request& request);
  int WaitBound() const;

  Rng rng_;
  const WorldPlan plan_;
  ManualClock clock_;
  engine::AdmissionGate gate_;
  StepWatch watch_;
  testing::FakeExecutor* executor_ = nullptr;  // owned by engine_
  std::unique_ptr<engine::Engine> engine_;
  std::vector<Client> clients_;
  CacheLedger ledger_;
  std::vector<Digest> versions_;  // that new requests may use
  std::vector<std::vector<std::int32_t>> shared_prompts_;
  int next_version_ = 0;
  int removed_ = 0;  // versions whose removal was asked for
  int freed_ = 0;    // ... and confirmed
  int tick_ = 0;
  int short_until_ = 0;  // tick; the device is short of memory before
  int slow_until_ = 0;   // tick; each step takes seconds before
  bool faults_ = true;
  bool step_failed_ = false;
  int longest_wait_ = 0;
  std::int64_t finished_ = 0;
};

}  // namespace llava::simulation

#endif  // LLAVA_TESTS_SIMULATION_WORLD_H_
