// Asks a server about every item of an input: as many at a time as it takes, at low priority.
#ifndef LLAVA_CLIENT_BATCH_RUN_H_
#define LLAVA_CLIENT_BATCH_RUN_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "client/batch/output.h"
#include "client/batch/progress.h"
#include "client/batch/source.h"
#include "llava/v1/chat.grpc.pb.h"

namespace llava::client {

struct BatchOptions {
  std::string input;
  BatchDefaults defaults;
  int concurrency = 64;
  Duration timeout = std::chrono::minutes(10);   // of one request
  Duration patience = std::chrono::minutes(10);  // without any answer, while the server is away
};

// One run. What the server refuses because it is full, draining or away is asked again after
// growing pauses; what it refuses for what it is becomes a row with the reason. Memory:
// `concurrency` requests, and 100 bytes an item. Run computes and writes in the caller's thread.
class BatchRun {
 public:
  using Identify = std::function<void(grpc::ClientContext*)>;
  using Report = std::function<void(const BatchProgress&)>;

  // All outlive the run. `report` is called in Run's thread, about once a second and at the end.
  BatchRun(const BatchOptions* options, BatchOutput* output, v1::ChatService::Stub* stub,
           Identify identify, const Clock* clock, Report report);
  ~BatchRun();

  // OK also when rows failed. INVALID_ARGUMENT: an id that occurs twice, a line that is no JSON;
  // UNAUTHENTICATED, PERMISSION_DENIED: the token; UNAVAILABLE: nothing was answered for
  // `patience` (at the start: at the first refusal); or the output's error. What was written stays,
  // and another run goes on there.
  absl::Status Run();

  const BatchProgress& progress() const { return progress_; }

 private:
  class Call;
  absl::Status Count();
  absl::Status Ask(const BatchItem& item);
  absl::Status WaitUntilFewer(std::size_t calls);
  absl::Status Settle(Call* call);
  absl::Status AskAgain(Call* call);
  absl::Status Fail(const std::string& id, const std::string& reason);
  Call* NextEnded(TimePoint until);
  TimePoint SendDue();
  void Send(Call* call);
  void Remove(Call* call);
  absl::Status ReportSometimes();

  const BatchOptions* const options_;
  BatchOutput* const output_;
  v1::ChatService::Stub* const stub_;
  const Identify identify_;
  const Clock* const clock_;
  const Report report_;
  BatchProgress progress_;
  TimePoint reported_{};
  TimePoint last_answer_{};
  bool ever_answered_ = false;
  std::vector<std::unique_ptr<Call>> calls_;  // on the wire, or waiting to be asked again

  Mutex mutex_;
  CondVar changed_;
  std::size_t on_the_wire_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Call*> ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BATCH_RUN_H_
