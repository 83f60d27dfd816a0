// One device at work: takes requests in, schedules, runs steps, streams the answers out.
//
// The engine owns the scheduler and the executor; its thread alone touches them. Everybody else
// talks to it through a bounded inbox (in) and token streams (out).
#ifndef LLAVA_SERVER_ENGINE_ENGINE_H_
#define LLAVA_SERVER_ENGINE_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/gate.h"
#include "base/mutex.h"
#include "server/engine/admission_gate.h"
#include "server/engine/executor.h"
#include "server/engine/inbox.h"
#include "server/engine/observer.h"
#include "server/engine/text_decoder.h"
#include "server/engine/token_stream.h"
#include "server/scheduling/limits.h"
#include "server/scheduling/marks.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/request.h"
#include "server/scheduling/scheduler.h"

namespace llava::engine {

struct EngineOptions {
  std::string name = "engine";  // of the thread, in logs
  // Of the device: engines of one kind can do equally much, whatever they have just measured.
  std::string kind = {};
  scheduling::SchedulerOptions scheduler;
  int inbox_capacity = 1024;           // requests between Submit and the next step
  int stream_tokens = 64;              // buffered for a reader before its request pauses
  scheduling::Marks* marks = nullptr;  // for tests
};

// A prepared request: decoded, preprocessed and tokenized.
struct Submission {
  scheduling::Request request;
  AdmissionTicket ticket;  // given back when the request has ended
  TextDecoderFactory make_decoder;
};

// What the engine has and has done, after its last turn.
struct EngineStats {
  scheduling::SchedulerStats scheduler;
  std::uint64_t steps = 0;
  std::uint64_t failed_steps = 0;
  GraphCounts graphs;
  std::optional<TimePoint> last_step;  // end of the last step: readiness by its age when busy
};

// Thread-safe unless said otherwise.
class Engine {
 public:
  // REQUIRES: Validate(options.scheduler) is OK. `clock` and `observer` outlive the engine;
  // `observer` may be null.
  Engine(const EngineOptions& options, std::unique_ptr<Executor> executor, const Clock* clock,
         Observer* observer);
  ~Engine();  // Stops it, if nobody has.

  // Starts the engine thread. Without it, RunOnce drives the engine (tests, the simulation).
  void Start();

  // The stream of the answer, or (the submission is given back by its ticket):
  //   UNAVAILABLE         draining or stopped
  //   RESOURCE_EXHAUSTED  the inbox is full, with scheduling::RetryAfter
  //   INVALID_ARGUMENT    the request is malformed, naming the field
  // What only the scheduler can know (deadline, version, KV budget) comes as the stream's End.
  absl::StatusOr<TokenStream> Submit(Submission submission);

  // Between two steps hands `model` to the executor; `done` is called on the engine thread with the
  // executor's status, and must not block. ALREADY_EXISTS when the version is there,
  // UNAVAILABLE (on the calling thread) after Stop.
  void AddVersion(std::shared_ptr<const LoadedModel> model, Done done);

  // Refuses new requests of the version at once, lets the accepted ones finish, then frees it in
  // the executor and calls `done` on the engine thread. NOT_FOUND when it is not there.
  void RemoveVersion(const Digest& version, Done done);

  // Refuses new requests, and waits until the accepted ones have ended: true, or false when some
  // are left at `deadline`.
  bool Drain(TimePoint deadline);

  // Ends what is left with UNAVAILABLE and joins the thread. Once is enough; again is allowed.
  void Stop();

  EngineStats stats() const;

  // For routing. Requests accepted and not ended, weighted by their tokens; and the tokens that a
  // second of the last steps had (of prompts and of answers), 0 before the first step.
  std::int64_t load() const;
  double speed() const { return speed_; }
  const std::string& kind() const { return options_.kind; }

  // One turn of the loop: inbox, tick, streams, step. While a device that runs behind is at the
  // step, what the one before gave goes to the streams. REQUIRES: the engine thread does not run.
  // False when there was nothing to run.
  bool RunOnce();

  // For tests. REQUIRES: the engine thread does not run.
  const scheduling::Scheduler& scheduler() const { return scheduler_; }

 private:
  // The engine's side of a request.
  struct Answer {
    TokenSink sink;
    AdmissionTicket ticket;
    std::vector<std::unique_ptr<TextDecoder>> decoders;  // by choice
    std::vector<TimePoint> last_token;                   // by choice
    TimePoint arrival;
    std::int64_t load = 0;
    bool has_token = false;
    std::optional<std::uint64_t> cancelled{};  // the steps begun when it was
  };

  void Run();
  void CollectEvents(Messages messages);
  void Accept(Submitted submitted);
  void Cancel(const Cancelled& cancelled);
  void AddNow(std::shared_ptr<const LoadedModel> model, const Done& done);
  void RemoveNow(const Digest& version, Done done);
  void Publish(scheduling::TickOutput& out);
  void PublishTokens(const scheduling::TickOutput& out, TimePoint now);
  void PublishEnds(scheduling::TickOutput& out, TimePoint now);
  void ObserveToken(Answer& answer, const scheduling::TokenOut& token, TimePoint now);
  void FreeVersions(const scheduling::TickOutput& out);
  StepReport ReportOf(const scheduling::StepPlan& plan, Duration schedule) const;
  void RunStep(scheduling::TickOutput& out, bool publishes, Duration schedule);
  absl::Status Launch(const scheduling::StepPlan& plan, Duration* encode);
  absl::Status Collect(bool encoded, Duration* encode);
  void MeasureSpeed(int tokens, Duration step);
  void DecodeText(const scheduling::StepPlan& plan);
  void EndFailed();
  void UpdateStats();

  const EngineOptions options_;
  const Clock* const clock_;
  Observer* const observer_;

  // Shared between threads.
  Inbox inbox_;
  Gate in_flight_;
  std::atomic<std::uint64_t> last_id_ = 0;
  std::atomic<std::int64_t> load_ = 0;
  std::atomic<double> speed_ = 0;
  mutable Mutex mutex_;
  EngineStats stats_ ABSL_GUARDED_BY(mutex_);

  // Engine thread only.
  std::unique_ptr<Executor> executor_;
  scheduling::Scheduler scheduler_;
  std::unordered_map<scheduling::RequestId, Answer> answers_;
  std::map<Digest, std::optional<Done>> versions_;  // with a Done: being removed
  std::vector<scheduling::Event> events_;           // of the next tick
  scheduling::StepResult result_;                   // of the last step
  std::vector<TextDecoder::Delta> decoded_;         // its text, by sample
  std::vector<std::uint8_t> stopped_;               // by sample
  std::optional<TimePoint> wake_;                   // when there is nothing to run
  double measured_tokens_ = 0, measured_seconds_ = 0;
  bool closed_ = false;
  EngineStats counters_;  // what the engine counts itself

  std::jthread thread_;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_ENGINE_ENGINE_H_
