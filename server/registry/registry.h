// The versions of the daemon's model: takes new ones in, shows them to a few, makes them live, and
// takes them back when they are worse. What it cannot vouch for never touches the live version.
#ifndef LLAVA_SERVER_REGISTRY_REGISTRY_H_
#define LLAVA_SERVER_REGISTRY_REGISTRY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/registry/canary.h"
#include "server/registry/model_loader.h"
#include "server/registry/served_model.h"
#include "server/registry/version_state.h"

namespace llava::registry {

struct RegistryOptions {
  std::string model_name;
  CanaryOptions canary;
  // A canary whose manifest's evaluation "total" is lower by more is rolled back at once; [0, 1].
  double worse_evaluation = 0.1;
  // The version before the live one stays loaded, so that a rollback takes effect at once.
  bool keep_previous = true;
  // Never two versions in memory: the old one goes before the new one is loaded, and requests wait
  // meanwhile. There is no canary then, and no kept version.
  bool swap = false;
  // Folder of published versions; empty: none. While nothing is live and the newest is rejected,
  // older ones are tried.
  std::string published;
};

// Thread-safe. Loading happens in the registry's own thread; promoting and rolling back take effect
// in the caller's. A version is freed when the last call that runs on it has dropped its
// ServedModel; so all of them must be dropped before the registry goes.
class Registry final : public ModelDirectory {
 public:
  // Tells every change of a state, in order, under the registry's lock: it must neither call back
  // nor block. `cause` is a word for metrics.
  using OnChange = std::function<void(const VersionInfo&, const std::string& cause)>;

  // What became of one Load: OK with a version that answers, or why it does not.
  struct Outcome {
    absl::Status status;
    VersionInfo info;
  };
  using Ticket = std::shared_ptr<std::optional<Outcome>>;  // for Await

  // `loader` and `clock` outlive the registry, and so do the loader's engines.
  Registry(RegistryOptions options, ModelLoader* loader, const Clock* clock, OnChange on_change);
  ~Registry() override;  // REQUIRES: Stop() was called, or Start() was not.

  void Start();

  // Nothing is taken in any more, and what is being loaded is given up where that is possible.
  void BeginStop();
  void Stop();  // BeginStop, and joins

  // Takes the version in `dir` on its way to live. `again`: somebody wants this one, also when it
  // was rejected before. Otherwise it is the newest there is, and those before it that still wait
  // are passed over. RESOURCE_EXHAUSTED when too many are queued.
  absl::StatusOr<Ticket> Load(const std::string& dir, bool again);

  // Nothing when it is not decided by `until`.
  std::optional<Outcome> Await(const Ticket& ticket, TimePoint until);

  // The canary becomes live now. FAILED_PRECONDITION without a canary.
  absl::Status Promote();

  // The canary goes; without one the live version goes and the kept one is live again, at once.
  // FAILED_PRECONDITION when there is nothing to go back to. REQUIRES: a reason.
  absl::Status RollBack(const std::string& reason);

  // The canary's share of the conversations. INVALID_ARGUMENT outside [0, 1]; FAILED_PRECONDITION
  // without a canary.
  absl::Status SetTraffic(double share);

  // The kept version or the canary goes, as soon as nobody runs on it. NOT_FOUND;
  // FAILED_PRECONDITION for a version that is live or not loaded.
  absl::Status Unload(const Digest& version);

  struct Snapshot {
    std::vector<VersionInfo> versions;  // oldest first; a bounded number
    std::vector<VersionEvent> events;   // oldest first; a bounded number
    std::uint64_t changes = 0;          // grows with every change
  };
  Snapshot Look() const;

  // Until there were more changes than `seen`; false when there were none by `until`.
  bool WaitForChange(std::uint64_t seen, TimePoint until);

  // ModelDirectory
  absl::StatusOr<std::shared_ptr<const ServedModel>> Find(absl::string_view name,
                                                          absl::string_view key) override;
  std::vector<std::shared_ptr<const ServedModel>> List() override;
  bool AfterSwap(std::function<void()> then) override;
  bool IsJudging() override;
  void Observe(const Digest& version, const Observation& observation) override;

  // One turn of the thread, for tests: everything that is to be done now. REQUIRES: no Start().
  void RunOnce();

 private:
  struct Command {
    std::string dir;
    bool again = false;
    Ticket ticket;
  };
  struct Entry {
    VersionInfo info;
    std::shared_ptr<const ServedModel> served;
    std::vector<engine::Engine*> engines;  // that hold it
    LoadedVersion loaded;                  // until no engine does
    std::optional<Command> next;           // came while it was draining: waits until it is gone
  };
  static constexpr char kRolledBack[] = "rolled back: ";  // how such a reason begins

  // A model that nobody is to get any more; dropped without the lock, because that may free it.
  using Retired = std::shared_ptr<const ServedModel>;

  // The registry's thread; registry_loading.cc.
  void Run();
  void LoadNow(const Command& command);
  Entry* Discover(const Command& command);
  absl::Status CheckNotRolledBack(const Digest& digest, bool again);
  absl::Status Verify(Entry* entry);
  absl::Status Bring(Entry* entry);
  absl::Status AddToEngines(Entry* entry);
  absl::Status Warm(const Entry& entry);
  absl::Status RunProbes(const Entry& entry);
  absl::StatusOr<std::vector<std::int32_t>> Ask(engine::Engine& engine,
                                                scheduling::Request request);
  void Serve(Entry* entry, Duration load_time);
  void Reject(Entry* entry, const absl::Status& status);
  std::string WhyWorse(const VersionIdentity& canary, const VersionIdentity& live) const;
  std::string MakeRoom();
  void EndSwap();
  void TryOlder();
  void RemoveFromEngines(Entry* entry);
  void RememberRollBacks();
  void FreeUnused();
  void FreeNow(const Digest& digest);
  void JudgeCanary();
  void Enter(Entry* entry, VersionState state);
  absl::Status ContinueUnlessStopping();

  void SetState(Entry& entry, VersionState state, const std::string& cause)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Decide(const Ticket& ticket, const absl::Status& status, const VersionInfo& info)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PassOver(absl::string_view why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Retired Retire(Entry& entry, const std::string& cause, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Retired> MakeLive(Entry& entry, const std::string& cause)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Retired> ActOn(const Judgement& judgement) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Entry* FindEntry(const Digest& digest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Entry* In(VersionState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool AnyLoaded() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetOld() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RegistryOptions options_;
  ModelLoader* const loader_;
  const Clock* const clock_;
  const OnChange on_change_;

  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<Command> commands_ ABSL_GUARDED_BY(mutex_);
  std::vector<Digest> unused_ ABSL_GUARDED_BY(mutex_);       // draining, and nobody runs on them
  std::vector<Digest> rolled_back_ ABSL_GUARDED_BY(mutex_);  // to be noted beside the versions
  std::optional<CanaryJudge> judge_ ABSL_GUARDED_BY(mutex_);
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::deque<VersionEvent> events_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<TimePoint> swapping_since_ ABSL_GUARDED_BY(mutex_);
  Duration last_load_ ABSL_GUARDED_BY(mutex_){};  // how long the last version took
  std::vector<std::function<void()>> after_swap_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_REGISTRY_H_
