// How a folder becomes the version that answers, and how a version goes: a step function from
// events to what is to be done. README.md is the contract.
#ifndef LLAVA_SERVER_REGISTRY_VERSION_LOADER_H_
#define LLAVA_SERVER_REGISTRY_VERSION_LOADER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "server/registry/canary.h"
#include "server/registry/version_directory.h"
#include "server/registry/version_table.h"

namespace llava::registry {

struct RegistryOptions {
  std::string model_name;
  std::vector<std::string> model_aliases = {};  // further names that clients may ask for
  CanaryOptions canary;
  // A canary that did worse by more in an exam of its manifest that the live version's has too is
  // rolled back at once; [0, 1].
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

// Who wants a folder to be loaded.
enum class Origin : std::uint8_t {
  kPublished,  // it is the newest; not when it was rejected or rolled back before
  kOperator,   // somebody asked for it, also when it was rejected before
  kRestored,   // it was live, and made room for a version that failed
  kRetried,    // a canary that was too slow, perhaps by the machine's fault
};

// What became of a load: OK with a version that answers, or why it does not.
struct LoadOutcome {
  absl::Status status;
  VersionInfo info;
};
using Ticket = std::shared_ptr<std::optional<LoadOutcome>>;  // null: nobody asks

// What the loader wants to be done, one thing at a time. All of it may be slow.
struct IdentifyWork {
  std::string dir;
  bool forget_rollback = false;  // it is wanted in spite of a note
};
struct StageWork {
  VersionState stage = VersionState::kVerifying;  // or kLoading, kWarming, kProbing
  std::string dir;
  Digest version;
  bool beside = false;  // other versions are loaded and answer
};
struct FreeWork {  // nobody runs on it
  Digest version;
};
struct NoteWork {  // a version was rolled back: other daemons and restarts are to know
  Digest version;
  std::string reason;
};
struct ListWork {};  // of the published versions
using Work = std::variant<IdentifyWork, StageWork, FreeWork, NoteWork, ListWork>;

// Results of work.
struct Identified {
  absl::StatusOr<VersionIdentity> identity;
  std::optional<std::string> rollback_note;  // why it was rolled back before; may be empty
};
struct StageDone {
  absl::Status status;                        // an error: nothing of this stage is left behind
  std::int64_t bytes = 0;                     // of kLoading: of the weights in memory
  std::shared_ptr<const ServedModel> served;  // of kProbing: what answers from now on
};
struct Freed {
  Digest version;
};
struct Noted {
  Digest version;
  absl::Status status;
};
struct Listed {
  std::vector<std::string> dirs;  // the newest first
};
using WorkResult = std::variant<Identified, StageDone, Freed, Noted, Listed>;

// What happens to the registry.
struct LoadRequest {
  std::string dir;
  Origin origin = Origin::kPublished;
  Ticket ticket;
};
struct PromoteRequest {};
struct RollBackRequest {
  std::string reason;
};
struct TrafficRequest {
  double share = 0;
};
struct UnloadRequest {
  Digest version;
};
struct AnswerObserved {
  Digest version;
  Observation observation;
};
struct LastUserGone {  // of a version's ServedModel
  Digest version;
};
struct WorkerIdle {};  // gets the next work; REQUIRES: that of before is done
struct WorkDone {
  WorkResult result;
};
struct TimePassed {};
struct StopRequest {};  // takes nothing in any more; frees and notes are still done
using LoaderEvent =
    std::variant<LoadRequest, PromoteRequest, RollBackRequest, TrafficRequest, UnloadRequest,
                 AnswerObserved, LastUserGone, WorkerIdle, WorkDone, TimePassed, StopRequest>;

struct StepOutput {
  absl::Status status;                 // of a request: why it is refused
  std::optional<Work> work;            // of WorkerIdle
  std::optional<Routes> routes;        // when they have changed
  std::vector<VersionChange> changes;  // in order
  // Models that nobody is to get any more. To be dropped where destructors may send LastUserGone.
  std::vector<std::shared_ptr<const ServedModel>> retired;
};

// Not thread-safe; knows no clock, thread, file, engine or tensor.
class VersionLoader {
 public:
  explicit VersionLoader(RegistryOptions options);

  // Time never goes back. Errors in `status`:
  //   LoadRequest      RESOURCE_EXHAUSTED: too many wait; UNAVAILABLE: stopping
  //   PromoteRequest   FAILED_PRECONDITION: there is no canary
  //   RollBackRequest  FAILED_PRECONDITION: there is nothing to go back to
  //   TrafficRequest   INVALID_ARGUMENT outside [0, 1]; FAILED_PRECONDITION without a canary
  //   UnloadRequest    NOT_FOUND; FAILED_PRECONDITION for what is neither kept nor canary
  StepOutput Step(const StepTime& time, LoaderEvent event);

  // Whether WorkerIdle would get work, and whether time alone may change that.
  bool HasWork() const;
  bool WaitsForTime() const;

  const RegistryOptions& options() const { return options_; }
  const VersionTable& table() const { return table_; }
  bool swapping() const { return swap_.has_value(); }
  bool judging() const { return judge_.has_value(); }

  // Everything that is served, at the end of the loader.
  std::vector<std::shared_ptr<const ServedModel>> TakeServed();

 private:
  using Entry = VersionTable::Entry;
  // The load in progress.
  struct Load {
    explicit Load(LoadRequest asked) : request(std::move(asked)) {}

    LoadRequest request;
    Entry* entry = nullptr;                         // null until it is identified
    VersionState stage = VersionState::kVerifying;  // to be done next, or in progress
    bool unloading = false;                         // others go first, to make room
    absl::Status failure;                           // not OK: waits until it is freed
    TimePoint start;
  };
  struct Swap {
    TimePoint since;
    std::string previous_dir;  // of the version that made room
    // What became of the load that made room, while the previous version is restored.
    std::optional<LoadOutcome> outcome;
    Ticket ticket;
  };
  struct Retry {
    std::string dir;
    TimePoint at;
  };
  struct Waiting {  // came while its version was draining: waits until that is gone
    Digest version;
    LoadRequest request;
  };

  void On(LoadRequest& request);
  void On(const PromoteRequest&);
  void On(const RollBackRequest& request);
  void On(const TrafficRequest& request);
  void On(const UnloadRequest& request);
  void On(const AnswerObserved& answer);
  void On(const LastUserGone& gone);
  void On(const WorkerIdle&);
  void On(WorkDone& done);
  void On(const TimePassed&);
  void On(const StopRequest&);

  void OnResult(Identified& identified);
  void OnResult(StageDone& done);
  void OnResult(const Freed& freed);
  void OnResult(const Noted& noted);
  void OnResult(const Listed& listed);

  // version_loader_stages.cc
  bool HasNextStage() const;
  std::optional<Work> NextWork();
  Work NextStage();
  void FinishKnown(Entry& entry);
  void Serve(std::shared_ptr<const ServedModel> served);
  void FailLoad(const absl::Status& status);
  void FinishLoad(const absl::Status& status, const VersionInfo& info);
  void UnloadForSwap();
  void FinishSwap();
  void Requeue(const Digest& version);

  static void Decide(const Ticket& ticket, const absl::Status& status, const VersionInfo& info);
  void DropSuperseded();
  void Retire(Entry& entry, Ending ending, const std::string& reason, const std::string& cause);
  void MakeLive(Entry& entry, const std::string& cause);
  void ActOn(const Judgement& judgement);
  void RollBackCanary(Ending ending, const std::string& cause, const std::string& reason);
  Routes MakeRoutes();

  const RegistryOptions options_;
  VersionTable table_;
  std::deque<LoadRequest> queue_;
  std::vector<Waiting> waiting_;  // at most one a version
  std::optional<Load> load_;
  std::optional<Swap> swap_;
  std::optional<Retry> retry_;
  std::optional<CanaryJudge> judge_;  // while there is a canary
  std::optional<Work> in_progress_;
  std::deque<Digest> unused_;     // draining, and nobody runs on them
  std::deque<NoteWork> unnoted_;  // rolled back, and not noted yet
  bool search_older_ = false;     // a load failed, and perhaps nothing is live
  bool stopping_ = false;
  Duration last_load_{};  // how long the last version took; 0: none was loaded yet

  StepTime time_;      // of the step in progress
  StepOutput output_;  // of the step in progress
  bool routes_changed_ = false;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_VERSION_LOADER_H_
