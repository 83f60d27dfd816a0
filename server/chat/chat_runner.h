// The one way from a request to an answer, shared by gRPC and HTTP: limits, admission, prepare
// pool, engine. Start never blocks; the answer, or why there is none, comes through `done`.
#ifndef LLAVA_SERVER_CHAT_CHAT_RUNNER_H_
#define LLAVA_SERVER_CHAT_CHAT_RUNNER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/gate.h"
#include "server/capture/recorder.h"
#include "server/chat/answer.h"
#include "server/chat/chat_call.h"
#include "server/chat/prepare_pool.h"
#include "server/engine/admission_gate.h"
#include "server/engine/engine_router.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/registry/served_model.h"
#include "server/tracing/trace_exporter.h"

namespace llava::api {

// Thread-safe. All pointers outlive the runner.
class ChatRunner {
 public:
  struct Options {
    CallLimits limits;
    Duration request_timeout = std::chrono::minutes(10);
    bool canary_by_tenant = false;  // otherwise by conversation
    bool caches_by_tenant = true;   // otherwise all tenants share them
  };
  using Done = std::function<void(absl::StatusOr<Answer>)>;

  ChatRunner(const Options& options, registry::ModelDirectory* models,
             engine::AdmissionGate* admission, PreparePool* pool, observe::Metrics* metrics,
             const observe::Log* log, const Clock* clock, tracing::TraceExporter* traces = nullptr);

  // Turns are captured from now on. Before the first call; `recorder` outlives the runner.
  void CaptureWith(capture::Recorder* recorder) { recorder_ = recorder; }

  // Calls `done` exactly once: in the caller's thread when the call is refused, else in a prepare
  // thread. Until then the caller keeps the bytes of the images.
  //   INVALID_ARGUMENT     with the field's path
  //   NOT_FOUND, FAILED_PRECONDITION   the model
  //   RESOURCE_EXHAUSTED   a bound of admission, with scheduling::RetryAfter
  //   DEADLINE_EXCEEDED, CANCELLED     before the engine had it
  //   UNAVAILABLE          draining
  // While versions are swapped a call waits, accepted, for the one that comes.
  void Start(ChatCall call, Done done);

  // The same for a caller that is a prepare thread itself (ReadInPool): the text is prepared at
  // once, in this thread, instead of waiting in the pool once more.
  void StartInPool(ChatCall call, Done done);

  // Runs `work`, which reads a request of `tenant`, in a prepare thread. False, and it will not
  // run, when too much waits for them.
  bool ReadInPool(const std::string& tenant, std::function<void()> work);

  // Runs `work`, which `bytes` of a request wait for, in a prepare thread, and then `done`: what is
  // asked beside chat goes through the same doors. On an error neither will run:
  // RESOURCE_EXHAUSTED and UNAVAILABLE as above, INVALID_ARGUMENT when waiting cannot help.
  absl::Status RunBeside(const std::string& tenant, std::int64_t bytes, std::function<void()> work,
                         std::function<void()> done);

  // Refuses new calls from now on.
  void Drain();

  // Ends the calls that the engines do not have yet, decoding included: UNAVAILABLE.
  void CutOff();

  // Waits until every call has ended; false when some are left at `deadline`.
  bool WaitUntilEmpty(TimePoint deadline) { return in_flight_.CloseAndWait(deadline); }

  registry::ModelDirectory& models() { return *models_; }
  const CallLimits& limits() const { return options_.limits; }
  const Clock& clock() const { return *clock_; }

 private:
  struct Job;
  std::shared_ptr<Job> MakeJob(ChatCall call, Done done);
  absl::Status Accept(Job& job);
  absl::Status Bind(Job& job) const;
  void WaitForSwap(const std::shared_ptr<Job>& job);
  absl::Status SendToPool(const std::shared_ptr<Job>& job);
  void Run(const std::shared_ptr<Job>& job);
  absl::Status PrepareText(Job& job) const;
  absl::Status Constrain(Job& job) const;
  absl::Status PrepareScores(Job& job, const std::vector<absl::string_view>& images) const;
  absl::Status PrepareImage(Job& job) const;
  void Submit(Job& job);
  void Capture(Job& job) const;
  engine::Submission ToSubmission(Job& job) const;
  engine::Engine* Route(const std::vector<engine::Engine*>& engines,
                        const scheduling::Request& request);
  absl::Status CheckAlive(const Job& job) const;
  void Refuse(Job& job, const absl::Status& status);

  const Options options_;
  registry::ModelDirectory* const models_;
  engine::AdmissionGate* const admission_;
  PreparePool* const pool_;
  observe::Metrics* const metrics_;
  const observe::Log* const log_;
  const Clock* const clock_;
  tracing::TraceExporter* const traces_;
  capture::Recorder* recorder_ = nullptr;  // null: nothing is captured
  Gate in_flight_;
  std::atomic<bool> cut_off_ = false;
  engine::EngineRouter router_;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_CHAT_RUNNER_H_
