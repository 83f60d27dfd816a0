// llava.v1.TrainingService over a JobRunner.
#ifndef LLAVA_TRAINING_SERVICE_TRAINING_SERVICE_H_
#define LLAVA_TRAINING_SERVICE_TRAINING_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "llava/v1/training.pb.h"
#include "rpc/call_guard.h"
#include "rpc/raw_service.h"
#include "training/service/job_runner.h"
#include "training/service/job_store.h"

namespace llava::training {

// Called by gRPC's own threads, one for each call in progress; a watcher keeps its thread, so their
// number is bounded. Everything it is given outlives it.
class TrainingServiceImpl final : public rpc::RawService {
 public:
  TrainingServiceImpl(JobRunner& runner, JobStore& store, rpc::CallGuard& guard,
                      const Clock& clock);

  // Ends every watcher: they block a shutdown otherwise.
  void Stop() { stopping_ = true; }

 private:
  using Call = rpc::BlockingCall;

  absl::Status CreateJob(Call* call);
  absl::Status GetJob(Call* call);
  absl::Status ListJobs(Call* call);
  absl::Status WatchJob(Call* call);
  absl::Status ReadLog(Call* call);
  absl::Status CancelJob(Call* call);
  absl::Status DeleteJob(Call* call);

  void Add(const char* name, absl::Status (TrainingServiceImpl::*method)(Call* call));
  // The caller's name, once its token has the role and the message is in `request`.
  absl::StatusOr<std::string> Receive(Call* call, google::protobuf::Message* request);
  v1::Job ToProto(const Job& job) const;
  // With its steps.
  absl::StatusOr<v1::Job> Whole(const Job& job) const;
  absl::Status Watch(Call* call, std::int64_t id);
  absl::Status SendLog(Call* call, std::int64_t id, bool follow, std::int64_t offset);

  JobRunner& runner_;
  JobStore& store_;
  rpc::CallGuard& guard_;
  const Clock& clock_;
  std::atomic<int> watchers_ = 0;
  std::atomic<bool> stopping_ = false;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_TRAINING_SERVICE_H_
