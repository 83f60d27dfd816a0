#include "training/service/training_service.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "training/service/job_inputs.h"
#include "training/service/pipeline.h"

namespace llava::training {
namespace {

constexpr int kMaxWatchers = 64;
constexpr int kMaxPage = 1000;
constexpr std::int64_t kLogPiece = std::int64_t{64} << 10;
constexpr Duration kProgressInterval = std::chrono::seconds(1);

// The codes have the same numbers.
grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), MessageOf(status));
}

absl::StatusOr<std::int64_t> ParseId(const std::string& id, const char* field) {
  std::int64_t number = 0;
  if (absl::SimpleAtoi(id, &number) && number > 0) return number;
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": is '", id, "', expected the number of a job"));
}

absl::Status TooManyWatchers() {
  return absl::ResourceExhaustedError(
      absl::StrCat("there are ", kMaxWatchers, " watchers already"));
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
  proto.set_recipe(Utf8Repair(job.recipe));  // a string of another kind spoils the whole answer
  proto.set_creator(job.creator);
  SetTime(job.created_ms, proto.mutable_create_time());
  if (job.started_ms != 0) SetTime(job.started_ms, proto.mutable_start_time());
  if (job.ended_ms != 0) SetTime(job.ended_ms, proto.mutable_end_time());
  proto.set_attempts(job.attempts);
  proto.set_message(Utf8Repair(job.message));  // a line of a process: any bytes
  proto.set_data_fingerprint(job.data_fingerprint);
  proto.set_progress(Utf8Repair(runner_.Progress(job.id)));
  // Inputs that cannot be read name nothing; the job itself fails with the reason.
  const auto inputs = ParseJobInputs(job.inputs);
  if (!inputs.ok()) return proto;
  for (const auto& [path, why] : inputs->set_aside) {
    v1::SetAsideShard* const shard = proto.add_set_aside();
    shard->set_path(Utf8Repair(path));
    shard->set_why(Utf8Repair(why));
  }
  return proto;
}

absl::StatusOr<v1::Job> TrainingServiceImpl::Whole(const Job& job) const {
  v1::Job proto = ToProto(job);
  ASSIGN_OR_RETURN(const StepRecords steps, store_.Steps(job.id));
  for (const std::string& name : StepNames()) {
    const auto found = steps.find(name);
    if (found == steps.end()) continue;
    const StepRecord& record = found->second;
    v1::JobStep* const step = proto.add_steps();
    step->set_name(name);
    step->set_state(static_cast<v1::JobStepState>(record.state));
    if (record.began_ms != 0) SetTime(record.began_ms, step->mutable_begin_time());
    if (record.ended_ms != 0) SetTime(record.ended_ms, step->mutable_end_time());
    step->set_message(Utf8Repair(record.message));
  }
  return proto;
}

TrainingServiceImpl::TrainingServiceImpl(JobRunner& runner, JobStore& store, rpc::CallGuard& guard,
                                         const Clock& clock)
    : runner_(runner), store_(store), guard_(guard), clock_(clock) {
  Add("/llava.v1.TrainingService/CreateJob", &TrainingServiceImpl::CreateJob);
  Add("/llava.v1.TrainingService/GetJob", &TrainingServiceImpl::GetJob);
  Add("/llava.v1.TrainingService/ListJobs", &TrainingServiceImpl::ListJobs);
  Add("/llava.v1.TrainingService/WatchJob", &TrainingServiceImpl::WatchJob);
  Add("/llava.v1.TrainingService/ReadLog", &TrainingServiceImpl::ReadLog);
  Add("/llava.v1.TrainingService/CancelJob", &TrainingServiceImpl::CancelJob);
  Add("/llava.v1.TrainingService/DeleteJob", &TrainingServiceImpl::DeleteJob);
}

void TrainingServiceImpl::Add(const char* name,
                              absl::Status (TrainingServiceImpl::*method)(Call* call)) {
  AddBlockingMethod(name, [this, method](Call* call) { return ToGrpc((this->*method)(call)); });
}

absl::StatusOr<std::string> TrainingServiceImpl::Receive(Call* call,
                                                         google::protobuf::Message* request) {
  ASSIGN_OR_RETURN(const rpc::Caller caller,
                   guard_.Authenticate(call->context(), rpc::Role::kAdmin));
  RETURN_IF_ERROR(call->Read(caller.name, &guard_, request));
  return caller.name;
}

absl::Status TrainingServiceImpl::CreateJob(Call* call) {
  v1::CreateJobRequest request;
  ASSIGN_OR_RETURN(const std::string caller, Receive(call, &request));
  ASSIGN_OR_RETURN(const Job job, runner_.Create({.recipe = request.recipe(), .creator = caller}));
  v1::CreateJobResponse response;
  *response.mutable_job() = ToProto(job);
  call->Write(response);
  return absl::OkStatus();
}

absl::Status TrainingServiceImpl::GetJob(Call* call) {
  v1::GetJobRequest request;
  RETURN_IF_ERROR(Receive(call, &request).status());
  ASSIGN_OR_RETURN(const std::int64_t id, ParseId(request.id(), "id"));
  ASSIGN_OR_RETURN(const Job job, store_.Get(id));
  v1::GetJobResponse response;
  ASSIGN_OR_RETURN(*response.mutable_job(), Whole(job));
  call->Write(response);
  return absl::OkStatus();
}

absl::Status TrainingServiceImpl::ListJobs(Call* call) {
  v1::ListJobsRequest request;
  RETURN_IF_ERROR(Receive(call, &request).status());
  std::int64_t before = 0;
  if (!request.before_id().empty()) {
    ASSIGN_OR_RETURN(before, ParseId(request.before_id(), "before_id"));
  }
  if (request.page_size() < 0 || request.page_size() > kMaxPage) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_size: is ", request.page_size(), ", expected 0 to ", kMaxPage));
  }
  const int most = request.page_size() == 0 ? 100 : request.page_size();
  ASSIGN_OR_RETURN(const std::vector<Job> jobs, store_.List(before, most));
  v1::ListJobsResponse response;
  for (const Job& job : jobs) *response.add_jobs() = ToProto(job);
  call->Write(response);
  return absl::OkStatus();
}

absl::Status TrainingServiceImpl::WatchJob(Call* call) {
  v1::WatchJobRequest request;
  RETURN_IF_ERROR(Receive(call, &request).status());
  ASSIGN_OR_RETURN(const std::int64_t id, ParseId(request.id(), "id"));
  const WatcherSlot slot(&watchers_);
  if (!slot.ok()) return TooManyWatchers();
  return Watch(call, id);
}

absl::Status TrainingServiceImpl::Watch(Call* call, std::int64_t id) {
  std::string last;
  while (!call->IsCancelled()) {
    const std::int64_t seen = runner_.changes();
    ASSIGN_OR_RETURN(const Job job, store_.Get(id));
    v1::WatchJobResponse response;
    ASSIGN_OR_RETURN(*response.mutable_job(), Whole(job));
    std::string now = response.SerializeAsString();
    if (now != last && !call->Write(response)) return absl::CancelledError("the watcher is gone");
    last = std::move(now);
    if (HasEnded(job.state)) return absl::OkStatus();
    if (stopping_) return absl::UnavailableError("the service goes down; the job will go on later");
    runner_.WaitForChange(seen, clock_.Now() + kProgressInterval);
  }
  return absl::CancelledError("the watcher is gone");
}

absl::Status TrainingServiceImpl::ReadLog(Call* call) {
  v1::ReadLogRequest request;
  RETURN_IF_ERROR(Receive(call, &request).status());
  ASSIGN_OR_RETURN(const std::int64_t id, ParseId(request.id(), "id"));
  const WatcherSlot slot(&watchers_);
  if (!slot.ok()) return TooManyWatchers();
  std::int64_t offset = request.offset();
  if (offset < 0) offset = std::max<std::int64_t>(0, runner_.LogSize(id) + offset);
  return SendLog(call, id, request.follow(), offset);
}

absl::Status TrainingServiceImpl::SendLog(Call* call, std::int64_t id, bool follow,
                                          std::int64_t offset) {
  while (!call->IsCancelled()) {
    const std::int64_t seen = runner_.changes();
    ASSIGN_OR_RETURN(const Job job, store_.Get(id));  // before its log is read to the end
    const std::int64_t end = runner_.LogSize(id);
    while (offset < end) {
      v1::ReadLogResponse response;
      response.set_text(runner_.ReadLog(id, offset, std::min(end - offset, kLogPiece)));
      response.set_offset(offset);
      offset += static_cast<std::int64_t>(response.text().size());
      if (response.text().empty()) break;  // somebody has cut the file
      if (!call->Write(response)) return absl::CancelledError("the reader is gone");
    }
    if (!follow || HasEnded(job.state)) return absl::OkStatus();
    if (stopping_) return absl::UnavailableError("the service goes down; the job will go on later");
    runner_.WaitForChange(seen, clock_.Now() + kProgressInterval);
  }
  return absl::CancelledError("the reader is gone");
}

absl::Status TrainingServiceImpl::CancelJob(Call* call) {
  v1::CancelJobRequest request;
  RETURN_IF_ERROR(Receive(call, &request).status());
  ASSIGN_OR_RETURN(const std::int64_t id, ParseId(request.id(), "id"));
  ASSIGN_OR_RETURN(const Job job, runner_.Cancel(id));
  v1::CancelJobResponse response;
  *response.mutable_job() = ToProto(job);
  call->Write(response);
  return absl::OkStatus();
}

absl::Status TrainingServiceImpl::DeleteJob(Call* call) {
  v1::DeleteJobRequest request;
  RETURN_IF_ERROR(Receive(call, &request).status());
  ASSIGN_OR_RETURN(const std::int64_t id, ParseId(request.id(), "id"));
  RETURN_IF_ERROR(runner_.Delete(id));
  call->Write(v1::DeleteJobResponse());
  return absl::OkStatus();
}

}  // namespace llava::training
