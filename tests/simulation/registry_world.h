// A simulated world around the registry's loader and directory: versions that are published, fail
// to load, are worse or slow; operators; several engines and tenants; readers that are called when
// there is something to read; a machine that stutters. All of it follows from one seed, on virtual
// time alone; each world has a random subset of the troubles.
#ifndef LLAVA_TESTS_SIMULATION_REGISTRY_WORLD_H_
#define LLAVA_TESTS_SIMULATION_REGISTRY_WORLD_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/rng.h"
#include "server/engine/admission_gate.h"
#include "server/engine/engine.h"
#include "server/engine/engine_router.h"
#include "server/registry/version_directory.h"
#include "server/registry/version_loader.h"
#include "tests/simulation/client.h"
#include "tests/simulation/registry_worker.h"

namespace llava::simulation {

struct RegistryPlan {
  bool failing, flaky, worse, garbled, slow, operators, stutters, cancels, slow_readers, errors;
  int engines = 1;
  int tenants = 1;
  int max_live = 8;          // admission bound
  double arrivals = 0.1;     // a tick, on average
  double publishing = 0.01;  // a tick
  engine::EngineOptions engine;
  registry::RegistryOptions registry;

  static RegistryPlan Draw(Rng& rng);
  std::string ToString() const;
};

// What happened in worlds, to see that they were not empty.
struct RegistryTotals {
  std::map<std::string, std::int64_t> count;  // "live", "ended rolled_back", "waited for a swap"
  void Add(const RegistryTotals& other);
};

class RegistryWorld {
 public:
  explicit RegistryWorld(std::uint64_t seed);
  ~RegistryWorld();

  // Faults on: every invariant holds after every step. INTERNAL naming what broke.
  absl::Status RunFaultyPhase(int ticks);

  // Faults off: within a bounded time nothing is in progress any more, a slow canary that is as
  // good as the live version was tried again, and a good version that is published then goes live.
  absl::Status RunSettling();

  const RegistryPlan& plan() const { return plan_; }
  const RegistryTotals& totals() const { return totals_; }
  std::int64_t ticks() const { return tick_; }

 private:
  // A request: first it has no model, and perhaps waits for a swap; then it is bound to one.
  struct Call {
    ClientSpec spec;
    std::string key;
    engine::AdmissionTicket ticket;
    std::shared_ptr<bool> woken;  // waits for a swap until it is true
    std::shared_ptr<const registry::ServedModel> model;
    std::optional<Client> client;
    std::int64_t stalled_until = 0;  // tick
  };

  absl::Status Step(registry::LoaderEvent event, std::optional<registry::Work>* work = nullptr);
  absl::Status CheckChanges(const registry::StepOutput& output);
  absl::Status CheckWork(const registry::Work& work);
  absl::Status CheckAlwaysLive();
  absl::Status Tick();
  absl::Status RunWorker();
  absl::Status LetGo();
  absl::Status Publish(Checkpoint checkpoint, registry::Origin origin);
  Checkpoint DrawCheckpoint();
  absl::Status Operate();
  Digest KeptOr(const Digest& other) const;
  absl::Status Arrive();
  absl::Status Bind(Call call);
  absl::StatusOr<std::shared_ptr<const registry::ServedModel>> FindTwice(const std::string& key);
  absl::Status BindWaiting();
  absl::Status ReadAll();
  absl::Status CheckEnd(const Call& call) const;
  absl::Status Observe(const Call& call);
  absl::Status SettleUntilQuiet(const char* what);
  absl::Status CheckQuiet();
  bool IsQuiet() const;
  absl::Status TickUntil(TimePoint last, const char* what, const std::function<bool()>& done);
  void MaybeStutter();

  Rng rng_;
  const RegistryPlan plan_;
  ManualClock clock_;
  engine::AdmissionGate gate_;
  std::vector<std::unique_ptr<engine::Engine>> engines_;
  engine::EngineRouter router_;
  registry::VersionLoader loader_;
  registry::Routes routes_;                        // the last ones that the loader gave out
  std::deque<Digest> gone_;                        // whose last user has gone, not told yet
  std::deque<registry::AnswerObserved> observed_;  // not told yet
  registry::VersionDirectory directory_;
  std::unique_ptr<SimulatedWorker> worker_;
  std::vector<Call> calls_;
  std::vector<Call> waiting_;  // for a swap
  std::vector<registry::Ticket> tickets_;
  std::map<Digest, registry::VersionState> told_;  // by the changes
  std::set<Digest> unnoted_;                       // rolled back, and not noted yet
  std::uint64_t changes_ = 0;
  bool was_live_ = false;
  bool swap_failed_ = false;  // since something was live
  std::string newest_;        // folder published last, when nobody interfered since
  int next_checkpoint_ = 0;
  int step_errors_ = 0;
  bool faults_ = true;
  double arrivals_ = 0;  // a tick, on average
  std::int64_t tick_ = 0;
  RegistryTotals totals_;
};

}  // namespace llava::simulation

#endif  // LLAVA_TESTS_SIMULATION_REGISTRY_WORLD_H_
