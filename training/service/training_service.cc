#include "training/service/training_service.h"

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

constexpr int kMaxWatchers = 64;
constexpr int kMaxPage = 1000;
constexpr Duration kProgressInterval = std::chrono::seconds(1);

// The codes have the same numbers.
grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

absl::StatusOr<std::string> Caller(const grpc::ServerContext& context, const rpc::Auth& auth) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  const absl::string_view header = found == metadata.end() ? "" : AbslView(found->second);
  return auth.Check(header, rpc::Role::kAdmin);
}

absl::StatusOr<std::int64_t> ParseId(const std::string& id, const char* field) {
  std::int64_t number = 0;
  if (absl::SimpleAtoi(id, &number) && number > 0) return number;
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": is '", id, "', expected the number of a job"));
}

void SetTime(std::int64_t ms, google::protobuf::Timestamp* time) {
  time->set_seconds(ms / 1000);
  time->set_nanos(static_cast<int>(ms % 1000) * 1'000'000);
}

class WatcherSlot {
 public:
  explicit WatcherSlot(std::atomic<int>* watchers) : watchers_(watchers), number_(++*watchers) {}
  ~WatcherSlot() { --*watchers_; }
  WatcherSlot(const WatcherSlot&) = delete;
  WatcherSlot& operator=(const WatcherSlot&) = delete;
  bool ok() const { return number_ <= kMaxWatchers; }

 private:
  std::atomic<int>* const watchers_;
  const int number_;
};

}  // namespace

v1::Job TrainingServiceImpl::ToProto(const Job& job) const {
  v1::Job proto;
  proto.set_id(absl::StrCat(job.id));
  proto.set_state(static_cast<v1::JobState>(job.state));
  proto.set_recipe(job.recipe);
  proto.set_creator(job.creator);
  SetTime(job.created_ms, proto.mutable_create_time());
  if (job.started_ms != 0) SetTime(job.started_ms, proto.mutable_start_time());
  if (job.ended_ms != 0) SetTime(job.ended_ms, proto.mutable_end_time());
  proto.set_attempts(job.attempts);
  proto.set_message(job.message);
  proto.set_data_fingerprint(job.data_fingerprint);
  proto.set_progress(runner_.Progress(job.id));
  return proto;
}

grpc::Status TrainingServiceImpl::CreateJob(grpc::ServerContext* context,
                                            const v1::CreateJobRequest* request,
                                            v1::CreateJobResponse* response) {
  const auto caller = Caller(*context, auth_);
  if (!caller.ok()) return ToGrpc(caller.status());
  const auto job = runner_.Create(request->recipe(), *caller, "");
  if (!job.ok()) return ToGrpc(job.status());
  *response->mutable_job() = ToProto(*job);
  return grpc::Status::OK;
}

grpc::Status TrainingServiceImpl::GetJob(grpc::ServerContext* context,
                                         const v1::GetJobRequest* request,
                                         v1::GetJobResponse* response) {
  const auto get = [&]() -> absl::Status {
    RETURN_IF_ERROR(Caller(*context, auth_).status());
    ASSIGN_OR_RETURN(const std::int64_t id, ParseId(request->id(), "id"));
    ASSIGN_OR_RETURN(const Job job, store_.Get(id));
    *response->mutable_job() = ToProto(job);
    return absl::OkStatus();
  };
  return ToGrpc(get());
}

grpc::Status TrainingServiceImpl::ListJobs(grpc::ServerContext* context,
                                           const v1::ListJobsRequest* request,
                                           v1::ListJobsResponse* response) {
  const auto list = [&]() -> absl::Status {
    RETURN_IF_ERROR(Caller(*context, auth_).status());
    std::int64_t before = 0;
    if (!request->before_id().empty()) {
      ASSIGN_OR_RETURN(before, ParseId(request->before_id(), "before_id"));
    }
    if (request->page_size() < 0 || request->page_size() > kMaxPage) {
      return absl::InvalidArgumentError(
          absl::StrCat("page_size: is ", request->page_size(), ", expected 0 to ", kMaxPage));
    }
    const int most = request->page_size() == 0 ? 100 : request->page_size();
    ASSIGN_OR_RETURN(const std::vector<Job> jobs, store_.List(before, most));
    for (const Job& job : jobs) *response->add_jobs() = ToProto(job);
    return absl::OkStatus();
  };
  return ToGrpc(list());
}

grpc::Status TrainingServiceImpl::WatchJob(grpc::ServerContext* context,
                                           const v1::WatchJobRequest* request,
                                           grpc::ServerWriter<v1::WatchJobResponse>* writer) {
  const auto caller = Caller(*context, auth_);
  if (!caller.ok()) return ToGrpc(caller.status());
  const auto id = ParseId(request->id(), "id");
  if (!id.ok()) return ToGrpc(id.status());
  const WatcherSlot slot(&watchers_);
  if (!slot.ok()) {
    return ToGrpc(absl::ResourceExhaustedError(
        absl::StrCat("there are ", kMaxWatchers, " watchers already")));
  }
  return ToGrpc(Watch(context, *id, writer));
}

absl::Status TrainingServiceImpl::Watch(grpc::ServerContext* context, std::int64_t id,
                                        grpc::ServerWriter<v1::WatchJobResponse>* writer) {
  std::string last;
  while (!context->IsCancelled()) {
    const std::int64_t seen = runner_.changes();
    ASSIGN_OR_RETURN(const Job job, store_.Get(id));
    v1::WatchJobResponse response;
    *response.mutable_job() = ToProto(job);
    std::string now = response.SerializeAsString();
    if (now != last && !writer->Write(response)) return absl::CancelledError("the watcher is gone");
    last = std::move(now);
    if (HasEnded(job.state)) return absl::OkStatus();
    if (stopping_) return absl::UnavailableError("the service goes down; the job will go on later");
    runner_.WaitForChange(seen, clock_.Now() + kProgressInterval);
  }
  return absl::CancelledError("the watcher is gone");
}

grpc::Status TrainingServiceImpl::CancelJob(grpc::ServerContext* context,
                                            const v1::CancelJobRequest* request,
                                            v1::CancelJobResponse* response) {
  const auto cancel = [&]() -> absl::Status {
    RETURN_IF_ERROR(Caller(*context, auth_).status());
    ASSIGN_OR_RETURN(const std::int64_t id, ParseId(request->id(), "id"));
    ASSIGN_OR_RETURN(const Job job, runner_.Cancel(id));
    *response->mutable_job() = ToProto(job);
    return absl::OkStatus();
  };
  return ToGrpc(cancel());
}

grpc::Status TrainingServiceImpl::DeleteJob(grpc::ServerContext* context,
                                            const v1::DeleteJobRequest* request,
                                            v1::DeleteJobResponse*) {
  const auto remove = [&]() -> absl::Status {
    RETURN_IF_ERROR(Caller(*context, auth_).status());
    ASSIGN_OR_RETURN(const std::int64_t id, ParseId(request->id(), "id"));
    return runner_.Delete(id);
  };
  return ToGrpc(remove());
}

}  // namespace llava::training
