#include "client/jobs_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "client/exit_code.h"
#include "llava/v1/training.grpc.pb.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/client/fake_server.h"

namespace llava::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// One running job of ann's; remembers what it was asked.
class FakeTraining final : public v1::TrainingService::Service {
 public:
  static v1::Job Running() {
    v1::Job job;
    job.set_id("j7");
    job.set_state(v1::JOB_STATE_RUNNING);
    job.set_creator("ann");
    job.set_progress(R"({"total_step":3,"loss":0.5})");
    job.set_message("stage 1");
    v1::JobStep* step = job.add_steps();
    step->set_name("generate");
    step->set_state(v1::JOB_STEP_STATE_DONE);
    step->set_message("40 rows");
    step = job.add_steps();
    step->set_name("train");
    step->set_state(static_cast<v1::JobStepState>(99));  // of a newer service
    return job;
  }
  grpc::Status CreateJob(grpc::ServerContext* context, const v1::CreateJobRequest* request,
                         v1::CreateJobResponse* response) override {
    asked = "create " + request->recipe();
    for (const auto& [key, value] : context->client_metadata()) {
      if (key == "authorization") authorization = std::string(value.data(), value.size());
    }
    response->mutable_job()->set_id("j8");
    response->mutable_job()->set_state(v1::JOB_STATE_QUEUED);
    return error;
  }
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                      v1::GetJobResponse* response) override {
    asked = "get " + request->id();
    *response->mutable_job() = Running();
    return error;
  }
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*,
                        v1::ListJobsResponse* response) override {
    asked = "list";
    *response->add_jobs() = Running();
    return error;
  }
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    asked = "watch " + request->id();
    v1::WatchJobResponse response;
    *response.mutable_job() = Running();
    writer->Write(response);
    response.mutable_job()->set_state(ends_as);
    response.mutable_job()->set_message("the end");
    writer->Write(response);
    return error;
  }
  grpc::Status ReadLog(grpc::ServerContext*, const v1::ReadLogRequest* request,
                       grpc::ServerWriter<v1::ReadLogResponse>* writer) override {
    asked = "logs " + request->id() + (request->follow() ? " follow" : "");
    for (const std::string& text : log) {
      v1::ReadLogResponse piece;
      piece.set_text(text);
      writer->Write(piece);
    }
    return error;
  }
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                         v1::CancelJobResponse* response) override {
    asked = "cancel " + request->id();
    *response->mutable_job() = Running();
    response->mutable_job()->set_state(v1::JOB_STATE_CANCELLED);
    return error;
  }
  grpc::Status DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request,
                         v1::DeleteJobResponse*) override {
    asked = "delete " + request->id();
    return error;
  }

  // Set and read between calls.
  std::string asked, authorization;
  std::vector<std::string> log;
  v1::JobState ends_as = v1::JOB_STATE_SUCCEEDED;
  grpc::Status error;
};

class JobsCommandTest : public ::testing::Test {
 protected:
  JobsCommandTest() : server_(&training_) {}

  int Run(const std::string& command, std::vector<std::string> arguments = {}) {
    return RunAt(server_.address(), command, std::move(arguments));
  }
  int RunAt(const std::string& address, const std::string& command,
            std::vector<std::string> arguments) {
    CLI::App app;
    int exit_code = -1;
    AddJobsCommand(&app, &exit_code);
    arguments.insert(arguments.begin(), {"jobs", command, "--server", address});
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    app.parse(arguments);
    out_ = ::testing::internal::GetCapturedStdout();
    err_ = ::testing::internal::GetCapturedStderr();
    return exit_code;
  }

  FakeTraining training_;
  FakeServer server_;
  std::string out_, err_;
};

TEST_F(JobsCommandTest, CreateSendsTheRecipeAsItIs) {
  const test::TempDir folder;
  const std::string path = folder.path() + "/recipe.yaml";
  const std::string recipe = "base: m  # \xc3\xa4\n\nstages: []\n";
  std::ofstream(path) << recipe;
  EXPECT_EQ(Run("create", {path, "--token", "secret"}), kOk);
  EXPECT_EQ(training_.asked, "create " + recipe);
  EXPECT_EQ(training_.authorization, "Bearer secret");
  EXPECT_THAT(out_, HasSubstr("j8  QUEUED "));
}

TEST_F(JobsCommandTest, CreateWithoutAFileAsksNobody) {
  EXPECT_EQ(Run("create", {"/nowhere/recipe.yaml"}), kRequestError);
  EXPECT_EQ(training_.asked, "");
  EXPECT_EQ(out_, "");
  EXPECT_THAT(err_, HasSubstr("/nowhere/recipe.yaml"));
}

TEST_F(JobsCommandTest, ListIsATable) {
  EXPECT_EQ(Run("list"), kOk);
  EXPECT_THAT(out_, HasSubstr("JOB"));
  EXPECT_THAT(out_, HasSubstr("j7   RUNNING  ann "));
}

TEST_F(JobsCommandTest, GetShowsTheStepsToo) {
  EXPECT_EQ(Run("get", {"j7"}), kOk);
  EXPECT_EQ(training_.asked, "get j7");
  EXPECT_EQ(out_,
            "j7  RUNNING    ann  {\"total_step\":3,\"loss\":0.5}  stage 1\n"
            "  generate  DONE      40 rows\n"
            "  train     -         \n");
}

TEST_F(JobsCommandTest, WatchPrintsEachChangeAndItsExitCodeIsTheJobsEnd) {
  EXPECT_EQ(Run("watch", {"j7"}), kOk);
  EXPECT_EQ(training_.asked, "watch j7");
  EXPECT_LT(out_.find("stage 1"), out_.find("SUCCEEDED"));
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 2);
  for (const v1::JobState end :
       {v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED, v1::JOB_STATE_REJECTED}) {
    training_.ends_as = end;
    EXPECT_EQ(Run("watch", {"j7"}), kRequestError) << end;
    EXPECT_THAT(out_, HasSubstr("the end"));
  }
}

// A stream that broke says nothing of the job, whatever came last.
TEST_F(JobsCommandTest, AWatchThatBrokeIsNoSuccess) {
  training_.error = {grpc::UNAVAILABLE, "going down"};
  EXPECT_EQ(Run("watch", {"j7"}), kNetworkError);
  EXPECT_THAT(out_, HasSubstr("SUCCEEDED"));
  EXPECT_THAT(err_, HasSubstr("going down"));
}

TEST_F(JobsCommandTest, LogsAreTheBytesThatWerePrinted) {
  training_.log = {"step 1\nst", "ep 2\n", std::string("\0\xff\n", 3)};
  EXPECT_EQ(Run("logs", {"j7"}), kOk);
  EXPECT_EQ(training_.asked, "logs j7");
  EXPECT_EQ(out_, std::string("step 1\nstep 2\n\0\xff\n", 17));
  EXPECT_EQ(Run("logs", {"j7", "--follow"}), kOk);
  EXPECT_EQ(training_.asked, "logs j7 follow");
  EXPECT_EQ(Run("logs", {"-f", "j7"}), kOk);
  EXPECT_EQ(training_.asked, "logs j7 follow");
}

TEST_F(JobsCommandTest, CancelShowsTheJobAndDeleteNothing) {
  EXPECT_EQ(Run("cancel", {"j7"}), kOk);
  EXPECT_EQ(training_.asked, "cancel j7");
  EXPECT_THAT(out_, HasSubstr("j7  CANCELLED"));
  EXPECT_EQ(Run("delete", {"j7"}), kOk);
  EXPECT_EQ(training_.asked, "delete j7");
  EXPECT_EQ(out_, "");
}

TEST_F(JobsCommandTest, ARefusalIsNamedAndNoJobIsShown) {
  training_.error = {grpc::NOT_FOUND, "no job j9"};
  for (const char* command : {"get", "cancel", "delete", "logs"}) {
    EXPECT_EQ(Run(command, {"j9"}), kRequestError) << command;
    EXPECT_THAT(err_, HasSubstr("llava jobs: no job j9")) << command;
    EXPECT_THAT(out_, Not(HasSubstr("j7"))) << command;
  }
  EXPECT_EQ(Run("list"), kRequestError);
  EXPECT_THAT(out_, Not(HasSubstr("j7")));
  training_.error = {grpc::RESOURCE_EXHAUSTED, "too many jobs"};
  EXPECT_EQ(Run("get", {"j9"}), kServerError);
}

TEST_F(JobsCommandTest, AServiceThatIsNotThereIsANetworkError) {
  EXPECT_EQ(RunAt("127.0.0.1:1", "list", {}), kNetworkError);
  EXPECT_EQ(Run("list", {"--ca", "/nowhere.pem"}), kRequestError);
  EXPECT_THAT(err_, HasSubstr("/nowhere.pem"));
}

TEST_F(JobsCommandTest, WhichJobMustBeSaid) {
  for (const char* command : {"get", "watch", "logs", "cancel", "delete", "create"}) {
    EXPECT_THROW(Run(command), CLI::RequiredError) << command;
    ::testing::internal::GetCapturedStdout();
    ::testing::internal::GetCapturedStderr();
  }
}

}  // namespace
}  // namespace llava::client
