// TrainingService over a real socket; jobs are shell scripts.
#include "training/service/training_service.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <fstream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llava/v1/training.grpc.pb.h"
#include "rpc/grpc_server.h"
#include "tests/support/temp_dir.h"
#include "training/service/job_inputs.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

class TrainingServiceTest : public ::testing::Test {
 protected:
  TrainingServiceTest() {
    store_ = *JobStore::Open(dir_.path() + "/jobs.db");
    JobRunnerOptions options;
    options.folder = dir_.path();
    options.command = {"/bin/sh"};
    runner_ = std::make_unique<JobRunner>(*store_, clock_, options);
    auth_ =
        *rpc::Auth::FromText(absl::StrCat("boss admin sha256:", Sha256Of("secret").Hex(),
                                          "\nguest chat sha256:", Sha256Of("other").Hex(), "\n"),
                             "tokens");
    service_ = std::make_unique<TrainingServiceImpl>(*runner_, *store_, guard_, clock_);
    rpc::GrpcOptions grpc_options;
    grpc_options.listen = "127.0.0.1:0";
    server_ = *rpc::GrpcServer::Start(grpc_options, {service_.get()}, &guard_);
    stub_ = v1::TrainingService::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", server_->port()), grpc::InsecureChannelCredentials()));
  }
  ~TrainingServiceTest() override { service_->Stop(); }

  static std::unique_ptr<grpc::ClientContext> Context(const std::string& token = "secret") {
    auto context = std::make_unique<grpc::ClientContext>();
    context->AddMetadata("authorization", "Bearer " + token);
    return context;
  }

  v1::Job Create(const std::string& recipe) {
    v1::CreateJobRequest request;
    request.set_recipe(recipe);
    v1::CreateJobResponse response;
    const grpc::Status status = stub_->CreateJob(Context().get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.job();
  }

  // Every job that was seen, until the stream ended.
  std::vector<v1::Job> Watch(const std::string& id) {
    v1::WatchJobRequest request;
    request.set_id(id);
    const auto context = Context();
    const auto reader = stub_->WatchJob(context.get(), request);
    std::vector<v1::Job> jobs;
    for (v1::WatchJobResponse response; reader->Read(&response);) jobs.push_back(response.job());
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return jobs;
  }

  // What is there now, and how the stream ended.
  std::pair<std::string, grpc::Status> ReadLog(const std::string& id, std::int64_t offset) {
    v1::ReadLogRequest request;
    request.set_id(id);
    request.set_offset(offset);
    const auto context = Context();
    const auto reader = stub_->ReadLog(context.get(), request);
    std::string text;
    for (v1::ReadLogResponse piece; reader->Read(&piece);) {
      EXPECT_LE(piece.text().size(), 65536u);
      text += piece.text();
    }
    return {text, reader->Finish()};
  }

  test::TempDir dir_;
  RealClock clock_;
  rpc::Auth auth_;
  rpc::CallGuard guard_{&auth_};
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<JobRunner> runner_;
  std::unique_ptr<TrainingServiceImpl> service_;
  std::unique_ptr<rpc::GrpcServer> server_;
  std::unique_ptr<v1::TrainingService::Stub> stub_;
};

TEST_F(TrainingServiceTest, AJobFromItsCreationToItsEnd) {
  const v1::Job job = Create("echo '{\"step\":5}'\n");
  EXPECT_EQ(job.creator(), "boss");
  const std::vector<v1::Job> seen = Watch(job.id());
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back().state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(seen.back().progress(), "{\"step\":5}");
  EXPECT_EQ(seen.back().attempts(), 1);
  EXPECT_GE(seen.back().end_time().seconds(), seen.back().create_time().seconds());

  Create("exit 4\n");
  v1::ListJobsResponse list;
  ASSERT_TRUE(stub_->ListJobs(Context().get(), {}, &list).ok());
  ASSERT_EQ(list.jobs_size(), 2);
  EXPECT_EQ(list.jobs(1).id(), job.id());
  EXPECT_EQ(Watch(list.jobs(0).id()).back().message(), "ended with exit code 4");

  v1::DeleteJobRequest remove;
  remove.set_id(job.id());
  v1::DeleteJobResponse removed;
  EXPECT_TRUE(stub_->DeleteJob(Context().get(), remove, &removed).ok());
  v1::GetJobRequest get;
  get.set_id(job.id());
  v1::GetJobResponse got;
  EXPECT_EQ(stub_->GetJob(Context().get(), get, &got).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(TrainingServiceTest, BytesThatAreNoTextSpoilNoAnswer) {
  ASSERT_TRUE(
      store_->Insert({.state = JobState::kFailed, .recipe = "\xff", .message = "\xfe"}).ok());
  v1::ListJobsResponse list;
  const grpc::Status status = stub_->ListJobs(Context().get(), {}, &list);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(list.jobs(0).message(), "\xef\xbf\xbd");
}

TEST_F(TrainingServiceTest, AJobHasTheStepsThatHaveBegunInTheirOrder) {
  const Job job = *store_->Insert({.state = JobState::kFailed, .recipe = "r"});
  const StepRecord train{StepState::kFailed, 3'500, 4'000, "disk \xff full"};
  ASSERT_TRUE(store_->RecordStep(job.id, "train", train).ok());
  ASSERT_TRUE(
      store_->RecordStep(job.id, "check", {StepState::kDone, 1'000, 3'000, "rows 20"}).ok());
  ASSERT_TRUE(store_->RecordStep(job.id, "webhook", {StepState::kBegun, 1, 0, "{}"}).ok());
  v1::GetJobRequest get;
  get.set_id(absl::StrCat(job.id));
  v1::GetJobResponse got;
  ASSERT_TRUE(stub_->GetJob(Context().get(), get, &got).ok());
  ASSERT_EQ(got.job().steps_size(), 2);
  EXPECT_EQ(got.job().steps(0).name(), "check");
  EXPECT_EQ(got.job().steps(0).state(), v1::JOB_STEP_STATE_DONE);
  EXPECT_EQ(got.job().steps(0).message(), "rows 20");
  EXPECT_EQ(got.job().steps(1).state(), v1::JOB_STEP_STATE_FAILED);
  EXPECT_EQ(got.job().steps(1).begin_time().nanos(), 500'000'000);
  EXPECT_EQ(got.job().steps(1).message(), "disk \xef\xbf\xbd full");
  EXPECT_EQ(Watch(absl::StrCat(job.id)).back().steps_size(), 2);
  v1::ListJobsResponse list;
  ASSERT_TRUE(stub_->ListJobs(Context().get(), {}, &list).ok());
  EXPECT_EQ(list.jobs(0).steps_size(), 0);
}

TEST_F(TrainingServiceTest, AJobNamesWhatWasSetAside) {
  JobInputs inputs;
  inputs.set_aside = {{"/data/a\xff.jsonl", "it is empty, and had 3 rows for job 1"}};
  const Job job = *store_->Insert(
      {.state = JobState::kSucceeded, .recipe = "r", .inputs = JobInputsJson(inputs)});
  v1::GetJobRequest get;
  get.set_id(absl::StrCat(job.id));
  v1::GetJobResponse got;
  ASSERT_TRUE(stub_->GetJob(Context().get(), get, &got).ok());
  ASSERT_EQ(got.job().set_aside_size(), 1);
  EXPECT_EQ(got.job().set_aside(0).path(), "/data/a\xef\xbf\xbd.jsonl");
  EXPECT_EQ(got.job().set_aside(0).why(), "it is empty, and had 3 rows for job 1");
  v1::ListJobsResponse list;
  ASSERT_TRUE(stub_->ListJobs(Context().get(), {}, &list).ok());
  EXPECT_EQ(list.jobs(0).set_aside_size(), 1);
}

TEST_F(TrainingServiceTest, TimesAreToldToTheMillisecond) {
  Job job{.state = JobState::kFailed, .recipe = "r", .created_ms = 5'007, .ended_ms = 61'234};
  job = *store_->Insert(job);
  v1::GetJobRequest get;
  get.set_id(absl::StrCat(job.id));
  v1::GetJobResponse got;
  ASSERT_TRUE(stub_->GetJob(Context().get(), get, &got).ok());
  EXPECT_EQ(got.job().create_time().seconds(), 5);
  EXPECT_EQ(got.job().create_time().nanos(), 7'000'000);
  EXPECT_EQ(got.job().end_time().seconds(), 61);
  EXPECT_EQ(got.job().end_time().nanos(), 234'000'000);
  EXPECT_FALSE(got.job().has_start_time());
}

TEST_F(TrainingServiceTest, ALogIsReadFromWhereOneWantsAndFollowedToTheEnd) {
  const v1::Job job = Create("mkfifo pipe\necho first\nread line < pipe\necho $line\n");
  const auto opened = Context();
  v1::ReadLogRequest request;
  request.set_id(job.id());
  request.set_follow(true);
  const auto reader = stub_->ReadLog(opened.get(), request);
  v1::ReadLogResponse piece;
  ASSERT_TRUE(reader->Read(&piece));
  EXPECT_EQ(piece.text(), "first\n");
  EXPECT_EQ(piece.offset(), 0);
  EXPECT_EQ(ReadLog(job.id(), -4).first, "rst\n");  // what is there, while it runs
  std::ofstream(runner_->JobFolder(1) + "/pipe") << "second\n";
  ASSERT_TRUE(reader->Read(&piece));
  EXPECT_EQ(piece.text(), "second\n");
  EXPECT_EQ(piece.offset(), 6);
  EXPECT_FALSE(reader->Read(&piece));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(ReadLog(job.id(), 0).first, "first\nsecond\n");
  EXPECT_EQ(ReadLog(job.id(), 6).first, "second\n");
  EXPECT_EQ(ReadLog(job.id(), 99).first, "");
  EXPECT_EQ(ReadLog(job.id(), -99).first, "first\nsecond\n");
  EXPECT_EQ(ReadLog("7", 0).second.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReadLog("../1", 0).second.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(TrainingServiceTest, ALongLogComesInPieces) {
  const v1::Job job = Create("head -c 200000 /dev/zero | tr '\\0' x\n");
  Watch(job.id());
  EXPECT_EQ(ReadLog(job.id(), 0).first, std::string(200'000, 'x'));
}

TEST_F(TrainingServiceTest, CancelEndsAWatch) {
  const v1::Job job = Create("mkfifo pipe\nexec cat pipe\n");
  v1::CancelJobRequest request;
  request.set_id(job.id());
  v1::CancelJobResponse response;
  ASSERT_TRUE(stub_->CancelJob(Context().get(), request, &response).ok());
  EXPECT_EQ(Watch(job.id()).back().state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(TrainingServiceTest, RefusesStrangersAndNonsense) {
  v1::CreateJobRequest create;
  create.set_recipe("exit 0\n");
  v1::CreateJobResponse response;
  EXPECT_EQ(stub_->CreateJob(Context("wrong").get(), create, &response).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(stub_->CreateJob(Context("other").get(), create, &response).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(stub_->CreateJob(Context().get(), {}, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  v1::GetJobRequest get;
  for (const char* no_id : {"", "0", "-1", "1.5"}) {
    get.set_id(no_id);
    v1::GetJobResponse none;
    EXPECT_EQ(stub_->GetJob(Context().get(), get, &none).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT)
        << no_id;
  }
  get.set_id("x7");
  v1::GetJobResponse got;
  const grpc::Status status = stub_->GetJob(Context().get(), get, &got);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("'x7'"));
  v1::ListJobsRequest list;
  list.set_page_size(-1);
  v1::ListJobsResponse listed;
  EXPECT_EQ(stub_->ListJobs(Context().get(), list, &listed).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  list.set_page_size(1001);
  EXPECT_EQ(stub_->ListJobs(Context().get(), list, &listed).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  list.set_page_size(1000);
  EXPECT_TRUE(stub_->ListJobs(Context().get(), list, &listed).ok());
  EXPECT_TRUE(store_->List(0, 10)->empty());
}

}  // namespace
}  // namespace llava::training
