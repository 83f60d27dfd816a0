#include "client/jobs_command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "client/connection.h"
#include "client/exit_code.h"
#include "client/jobs_table.h"
#include "llava/v1/training.grpc.pb.h"

namespace llava::client {
namespace {

constexpr std::size_t kMaxRecipeBytes = std::size_t{1} << 20;

using Stub = v1::TrainingService::Stub;

struct Arguments {
  Connection connection;
  std::string id;
  std::string recipe;
  bool follow = false;
};

void Print(const v1::Job& job) {
  std::printf("%s  %-9s  %s  %s%s%s\n", job.id().c_str(), StateName(job.state()).c_str(),
              job.creator().empty() ? "-" : job.creator().c_str(), job.progress().c_str(),
              job.message().empty() ? "" : "  ", job.message().c_str());
  std::fflush(stdout);
}

// "DONE" of JOB_STEP_STATE_DONE. A newer service may have states that have no name here.
std::string StepStateName(v1::JobStepState state) {
  constexpr std::size_t kPrefix = std::string_view("JOB_STEP_STATE_").size();
  const std::string name = v1::JobStepState_Name(state);
  return name.size() <= kPrefix ? "-" : name.substr(kPrefix);
}

void PrintSetAside(const v1::Job& job) {
  for (const v1::SetAsideShard& shard : job.set_aside()) {
    std::printf("  set aside: %s: %s\n", shard.path().c_str(), shard.why().c_str());
  }
}

void PrintSteps(const v1::Job& job) {
  for (const v1::JobStep& step : job.steps()) {
    std::printf("  %-8s  %-8s  %s\n", step.name().c_str(), StepStateName(step.state()).c_str(),
                step.message().c_str());
  }
}

int Report(const grpc::Status& status) {
  if (!status.ok()) std::fprintf(stderr, "llava jobs: %s\n", status.error_message().c_str());
  return ExitCodeOf(status);
}

// One call that answers with a job.
template <typename Request, typename Response>
int CallForJob(Stub& stub, grpc::ClientContext* context, const Request& request,
               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*)) {
  Response response;
  const grpc::Status status = (stub.*method)(context, request, &response);
  if (status.ok()) Print(response.job());
  return Report(status);
}

template <typename Request>
Request WithId(const std::string& id) {
  Request request;
  request.set_id(id);
  return request;
}

int Create(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  const auto recipe = ReadFile(arguments.recipe, kMaxRecipeBytes);
  if (!recipe.ok()) {
    std::fprintf(stderr, "llava jobs: %s\n", std::string(recipe.status().message()).c_str());
    return kRequestError;
  }
  v1::CreateJobRequest request;
  request.set_recipe(*recipe);
  return CallForJob(stub, context, request, &Stub::CreateJob);
}

int List(const Arguments&, Stub& stub, grpc::ClientContext* context) {
  v1::ListJobsResponse response;
  const grpc::Status status = stub.ListJobs(context, {}, &response);
  const std::vector<v1::Job> jobs(response.jobs().begin(), response.jobs().end());
  std::printf("%s", JobsTable(jobs, RealClock().UnixMillis()).c_str());
  return Report(status);
}

int Get(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  v1::GetJobResponse response;
  const grpc::Status status =
      stub.GetJob(context, WithId<v1::GetJobRequest>(arguments.id), &response);
  if (status.ok()) {
    Print(response.job());
    PrintSetAside(response.job());
    PrintSteps(response.job());
  }
  return Report(status);
}

int Watch(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  const auto reader = stub.WatchJob(context, WithId<v1::WatchJobRequest>(arguments.id));
  v1::WatchJobResponse response;
  while (reader->Read(&response)) Print(response.job());
  const int code = Report(reader->Finish());
  if (code != kOk) return code;
  return response.job().state() == v1::JOB_STATE_SUCCEEDED ? kOk : kRequestError;
}

int Logs(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  auto request = WithId<v1::ReadLogRequest>(arguments.id);
  request.set_follow(arguments.follow);
  const auto reader = stub.ReadLog(context, request);
  for (v1::ReadLogResponse piece; reader->Read(&piece);) {
    std::fwrite(piece.text().data(), 1, piece.text().size(), stdout);
    std::fflush(stdout);
  }
  return Report(reader->Finish());
}

int Cancel(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  return CallForJob(stub, context, WithId<v1::CancelJobRequest>(arguments.id), &Stub::CancelJob);
}

int Delete(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  v1::DeleteJobResponse response;
  return Report(stub.DeleteJob(context, WithId<v1::DeleteJobRequest>(arguments.id), &response));
}

using Action = int (*)(const Arguments&, Stub&, grpc::ClientContext*);

int Run(const Arguments& arguments, Action action) {
  const auto channel = arguments.connection.Channel();
  if (!channel.ok()) {
    std::fprintf(stderr, "llava jobs: %s\n", std::string(channel.status().message()).c_str());
    return kRequestError;
  }
  const std::unique_ptr<Stub> stub = v1::TrainingService::NewStub(*channel);
  grpc::ClientContext context;
  arguments.connection.Identify(&context);
  return action(arguments, *stub, &context);
}

}  // namespace

void AddJobsCommand(CLI::App* app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  arguments->connection.server = "127.0.0.1:8090";
  CLI::App* jobs = app->add_subcommand("jobs", "Training jobs of a training service");
  jobs->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, Action action) {
    CLI::App* command = jobs->add_subcommand(name, help);
    arguments->connection.AddFlags(command);
    command->callback([arguments, exit_code, action] { *exit_code = Run(*arguments, action); });
    return command;
  };
  add("create", "Queue a recipe", Create)
      ->add_option("recipe", arguments->recipe, "The recipe's YAML file")
      ->required();
  add("list", "The newest jobs, in columns", List);
  CLI::App* logs = add("logs", "What a job has printed", Logs);
  logs->add_option("id", arguments->id, "The job's number")->required();
  logs->add_flag("--follow,-f", arguments->follow, "Go on until the job has ended");
  for (const auto& [name, help, action] :
       {std::tuple("get", "One job and its steps", &Get),
        std::tuple("watch", "One job until it ends", &Watch),
        std::tuple("cancel", "End a job", &Cancel),
        std::tuple("delete", "Delete a job that has ended", &Delete)}) {
    add(name, help, action)->add_option("id", arguments->id, "The job's number")->required();
  }
}

}  // namespace llava::client
