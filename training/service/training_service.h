// llava.v1.TrainingService over a JobRunner.
#ifndef LLAVA_TRAINING_SERVICE_TRAINING_SERVICE_H_
#define LLAVA_TRAINING_SERVICE_TRAINING_SERVICE_H_

#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "llava/v1/training.grpc.pb.h"
#include "rpc/auth.h"
#include "training/service/job_runner.h"
#include "training/service/job_store.h"

namespace llava::training {

// Called by gRPC's own threads, one for each call in progress; a watcher keeps its thread, so their
// number is bounded. Everything it is given outlives it.
class TrainingServiceImpl final : public v1::TrainingService::Service {
 public:
  TrainingServiceImpl(JobRunner& runner, JobStore& store, const rpc::Auth& auth, const Clock& clock)
      : runner_(runner), store_(store), auth_(auth), clock_(clock) {}

  // Ends every watcher: they block a shutdown otherwise.
  void Stop() { stopping_ = true; }

  grpc::Status CreateJob(grpc::ServerContext* context, const v1::CreateJobRequest* request,
                         v1::CreateJobResponse* response) override;
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                      v1::GetJobResponse* response) override;
  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override;
  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                         v1::CancelJobResponse* response) override;
  grpc::Status DeleteJob(grpc::ServerContext* context, const v1::DeleteJobRequest* request,
                         v1::DeleteJobResponse* response) override;

 private:
  v1::Job ToProto(const Job& job) const;
  absl::Status Watch(grpc::ServerContext* context, std::int64_t id,
                     grpc::ServerWriter<v1::WatchJobResponse>* writer);

  JobRunner& runner_;
  JobStore& store_;
  const rpc::Auth& auth_;
  const Clock& clock_;
  std::atomic<int> watchers_ = 0;
  std::atomic<bool> stopping_ = false;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_TRAINING_SERVICE_H_
