// Tick(now, events) → plan: what the device does next. A step function: no lock, no clock, no I/O;
// time is an argument and everything that happens is an event. README.md beside it is the contract.
#ifndef LLAVA_SERVER_SCHEDULING_SCHEDULER_H_
#define LLAVA_SERVER_SCHEDULING_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/digest.h"
#include "server/scheduling/costs/cost_model.h"
#include "server/scheduling/costs/step_times.h"
#include "server/scheduling/fair_share.h"
#include "server/scheduling/limits.h"
#include "server/scheduling/marks.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/planner.h"
#include "server/scheduling/request.h"
#include "server/scheduling/sequence.h"

namespace llava::scheduling {

// What may have happened since the last Tick.
struct Arrive {
  std::unique_ptr<Request> request;  // with a new id; CheckRequest is OK, as Engine::Submit saw
};
struct Cancel {
  RequestId id;  // unknown ids are ignored: the request may just have ended
  absl::Status status = absl::CancelledError("cancelled by the client");  // what ends it
};
struct Pause {  // its reader is slow
  RequestId id;
};
struct Resume {
  RequestId id;
};
struct StepDone {
  std::span<const SampledToken> tokens;   // one for each sample of the plan, or kNotSampled
  std::span<const std::uint8_t> stopped;  // the same length: 1 when the text ends with it
  Duration encode{};
  Duration forward{};
};
struct StepFailed {
  absl::Status status;  // RESOURCE_EXHAUSTED: out of device memory; anything else: a failure
};
struct AddVersion {
  Digest version;
};
struct RemoveVersion {  // refuses new requests; `removed_versions` says when the last one has ended
  Digest version;
};
struct EndAll {  // the engine stops
  absl::Status status;
};
using Event = std::variant<Arrive, Cancel, Pause, Resume, StepDone, StepFailed, AddVersion,
                           RemoveVersion, EndAll>;

// A sampled token that belongs to an answer.
struct TokenOut {
  RequestId id;
  int choice = 0;
  int sample = 0;  // its index in StepDone::tokens
  FinishReason finish = FinishReason::kNone;
};

// A request has ended; it is given back. Exactly once for each arrival.
struct RequestEnd {
  std::unique_ptr<Request> request;
  absl::Status status;
  Usage usage;
};

struct TickOutput {
  StepPlan plan;  // to be run when it has work; then the next Tick gets StepDone or StepFailed
  std::vector<TokenOut> tokens;  // in the order in which they are to be sent, before `ends`
  std::vector<RequestEnd> ends;
  std::vector<Digest> removed_versions;  // after plan.drop_features
  std::optional<TimePoint> wake;         // when there is nothing to run: the next deadline
};

// What the scheduler has and has done, after its last tick.
struct SchedulerStats {
  int requests = 0;  // accepted and not ended
  int running = 0;   // sequences that hold KV blocks
  int waiting = 0;   // sequences that hold none
  int paused = 0;    // requests whose reader is slow
  int blocks_total = 0;
  int blocks_used = 0;             // by running sequences
  int blocks_cached = 0;           // by nobody, kept for the prefix cache
  std::int64_t feature_bytes = 0;  // encoded images
  int unfinished_images = 0;       // half-encoded ones, whose bytes are those they will have
  std::uint64_t generated_tokens = 0;
  PlannerCounters planner;
};

// Engine thread only.
class Scheduler {
 public:
  // REQUIRES: Validate(options) is OK. `marks` may be null and outlives the scheduler.
  explicit Scheduler(const SchedulerOptions& options, Marks* marks = nullptr);

  // REQUIRES: `now` does not go back; exactly one StepDone or StepFailed when the last plan had
  // work, none otherwise. The output is valid until the next Tick.
  TickOutput& Tick(TimePoint now, std::span<Event> events);

  SchedulerStats stats() const;
  const TickOutput& output() const { return out_; }  // of the last Tick
  const Planner& planner() const { return planner_; }
  const SchedulerOptions& options() const { return options_; }
  const std::unordered_map<RequestId, std::unique_ptr<RequestState>>& requests() const {
    return requests_;
  }
  const FairShare& fair_share() const { return fair_share_; }
  const std::vector<PlannedChunk>& step() const { return step_; }

 private:
  struct Version {
    Digest digest;
    bool present = false;  // the place in the table is taken
    bool draining = false;
    int requests = 0;   // accepted and not ended
    Duration worked{};  // of its steps
  };

  void MarkCancelled(std::span<const Event> events);
  void OnStep(std::span<Event> events);
  void Apply(Arrive& arrive);
  void Apply(Cancel& cancel);
  void Apply(Pause& pause);
  void Apply(Resume& resume);
  void Apply(StepDone&) {}    // by OnStep
  void Apply(StepFailed&) {}  // by OnStep
  void Apply(AddVersion& add);
  void Apply(RemoveVersion& remove);
  void Apply(EndAll& end);

  void CommitStep(const StepDone& done);
  void CommitDecode(const PlannedChunk& chunk, const StepDone& done);
  static void Learn(Sequence& sequence, std::int32_t sampled);
  void CommitSamples(const PlannedChunk& chunk, const StepDone& done);
  void CommitToken(Sequence& sequence, const StepDone& done, int sample);
  void MeasureStep(const StepDone& done);
  void FailStep(const absl::Status& status);
  void ShrinkStep(const absl::Status& status);
  void RecoverBudget();
  Work LeastWork(const RequestState& request);
  absl::Status CheckDeadline(const RequestState& request);
  bool IsIdle() const;
  void Expire();
  void EndRequest(RequestState& request, absl::Status status);
  void ReleaseVersion(int index);
  void PlanStep();
  int FindVersion(const Digest& digest) const;
  // What the steps of the versions beside it took, from some moment before its first request on.
  Duration WorkedForOthers(int version) const {
    return worked_ - versions_[static_cast<std::size_t>(version)].worked;
  }
  RequestState* FindState(RequestId id);

  const SchedulerOptions options_;
  Marks* const marks_;
  Planner planner_;
  FairShare fair_share_;
  CostModel cost_model_;
  StepTimes step_times_;
  std::unordered_map<RequestId, std::unique_ptr<RequestState>> requests_;
  std::vector<Version> versions_;
  std::set<std::pair<TimePoint, RequestId>> deadlines_;
  std::vector<PlannedChunk> step_;  // what runs now
  StepBudget budget_;
  int short_steps_ = 0;  // out of memory, in a row
  int good_steps_ = 0;   // since the budget last changed
  int last_version_ = 0;
  int paused_ = 0;     // requests
  Duration worked_{};  // of all steps
  std::uint64_t last_sequence_id_ = 0;
  std::uint64_t generated_tokens_ = 0;
  TimePoint now_{};
  TickOutput out_;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_SCHEDULER_H_
