#include "client/models_command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/connection.h"
#include "client/exit_code.h"
#include "llava/v1/models.grpc.pb.h"

namespace llava::client {
namespace {

using Stub = v1::ModelService::Stub;

constexpr std::size_t kShownDigits = 12;

struct Arguments {
  Connection connection;
  std::string path;
  std::string version;
  std::string adapter;
  std::string reason;
  double percent = 0;
  bool events = false;
};

// "live" of VERSION_STATE_LIVE. A newer daemon may have states that have no name here.
std::string StateName(const std::string& name, int number) {
  const std::size_t stem = name.find("STATE_");
  if (stem == name.npos) return absl::StrCat("state ", number);
  return absl::AsciiStrToLower(name.substr(stem + 6));
}

std::string StateName(v1::VersionState state) {
  return StateName(v1::VersionState_Name(state), static_cast<int>(state));
}

// 2026-01-31T12:00:00Z
std::string TimeText(const google::protobuf::Timestamp& time) {
  const std::time_t seconds = time.seconds();
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string Line(const v1::ModelVersion& version) {
  std::string line = absl::StrFormat(
      "%s  %-10s  %3.0f%%  %s  %8d answers  %s", version.version().substr(0, kShownDigits),
      StateName(version.state()), 100 * version.traffic(), TimeText(version.state_time()),
      version.answers(), version.path());
  const auto total = version.evaluation().find("total");
  if (total != version.evaluation().end()) {
    absl::StrAppendFormat(&line, "  evaluation %.1f%%", 100 * total->second);
  }
  if (!version.reason().empty()) absl::StrAppend(&line, "  (", version.reason(), ")");
  return line;
}

std::string Line(const v1::ModelAdapter& adapter) {
  const std::string state =
      StateName(v1::AdapterState_Name(adapter.state()), static_cast<int>(adapter.state()));
  std::string line = absl::StrFormat("adapter %s  %-8s  %s  rank %d  %.1f MB  of %s  %s",
                                     adapter.name(), state, TimeText(adapter.state_time()),
                                     adapter.rank(), static_cast<double>(adapter.bytes()) / 1e6,
                                     adapter.base().empty() ? "?" : adapter.base(), adapter.path());
  if (!adapter.reason().empty()) absl::StrAppend(&line, "  (", adapter.reason(), ")");
  return line;
}

void Print(const v1::ModelEvent& event) {
  std::printf("%s  %s  %s%s%s\n", TimeText(event.time()).c_str(),
              event.version().substr(0, kShownDigits).c_str(), StateName(event.state()).c_str(),
              event.reason().empty() ? "" : "  ", event.reason().c_str());
}

int Report(const grpc::Status& status) {
  std::fflush(stdout);
  if (!status.ok()) std::fprintf(stderr, "llava models: %s\n", status.error_message().c_str());
  return ExitCodeOf(status);
}

template <typename Response>
int PrintVersion(const grpc::Status& status, const Response& response) {
  if (status.ok()) std::printf("%s\n", Line(response.version()).c_str());
  return Report(status);
}

int List(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  v1::ListResponse response;
  const grpc::Status status = stub.List(context, {}, &response);
  for (const v1::ModelVersion& version : response.versions()) {
    std::printf("%s\n", Line(version).c_str());
  }
  for (const v1::ModelAdapter& adapter : response.adapters()) {
    std::printf("%s\n", Line(adapter).c_str());
  }
  if (arguments.events) {
    for (const v1::ModelEvent& event : response.events()) Print(event);
  }
  return Report(status);
}

int Load(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  v1::LoadRequest request;
  request.set_path(arguments.path);
  v1::LoadResponse response;
  const grpc::Status status = stub.Load(context, request, &response);
  return PrintVersion(status, response);
}

int Reload(const Arguments&, Stub& stub, grpc::ClientContext* context) {
  v1::ReloadResponse response;
  const grpc::Status status = stub.Reload(context, {}, &response);
  return PrintVersion(status, response);
}

int SetTraffic(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  v1::SetTrafficRequest request;
  request.set_share(arguments.percent / 100);
  v1::SetTrafficResponse response;
  return Report(stub.SetTraffic(context, request, &response));
}

int Promote(const Arguments&, Stub& stub, grpc::ClientContext* context) {
  v1::PromoteResponse response;
  return Report(stub.Promote(context, {}, &response));
}

int Rollback(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  v1::RollbackRequest request;
  request.set_reason(arguments.reason);
  v1::RollbackResponse response;
  return Report(stub.Rollback(context, request, &response));
}

int Unload(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  v1::UnloadRequest request;
  request.set_version(arguments.version);
  v1::UnloadResponse response;
  return Report(stub.Unload(context, request, &response));
}

int LoadAdapter(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  v1::LoadAdapterRequest request;
  request.set_name(arguments.adapter);
  request.set_path(arguments.path);
  v1::LoadAdapterResponse response;
  const grpc::Status status = stub.LoadAdapter(context, request, &response);
  if (status.ok()) std::printf("%s\n", Line(response.adapter()).c_str());
  return Report(status);
}

int UnloadAdapter(const Arguments& arguments, Stub& stub, grpc::ClientContext* context) {
  v1::UnloadAdapterRequest request;
  request.set_name(arguments.adapter);
  v1::UnloadAdapterResponse response;
  return Report(stub.UnloadAdapter(context, request, &response));
}

int Watch(const Arguments&, Stub& stub, grpc::ClientContext* context) {
  const auto reader = stub.Watch(context, {});
  v1::WatchResponse response;
  for (bool first = true; reader->Read(&response); first = false) {
    for (const v1::ModelVersion& version : response.versions()) {
      if (first) std::printf("%s\n", Line(version).c_str());
    }
    for (const v1::ModelEvent& event : response.events()) Print(event);
    std::fflush(stdout);
  }
  return Report(reader->Finish());
}

using Action = int (*)(const Arguments&, Stub&, grpc::ClientContext*);

int Run(const Arguments& arguments, Action action) {
  const auto channel = arguments.connection.Channel();
  if (!channel.ok()) {
    std::fprintf(stderr, "llava models: %s\n", std::string(channel.status().message()).c_str());
    return kRequestError;
  }
  const std::unique_ptr<Stub> stub = v1::ModelService::NewStub(*channel);
  grpc::ClientContext context;
  arguments.connection.Identify(&context);
  return action(arguments, *stub, &context);
}

}  // namespace

void AddModelsCommand(CLI::App* app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* models = app->add_subcommand("models", "Versions of the model that a daemon serves");
  models->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, Action action) {
    CLI::App* command = models->add_subcommand(name, help);
    arguments->connection.AddFlags(command);
    command->callback([arguments, exit_code, action] { *exit_code = Run(*arguments, action); });
    return command;
  };
  add("list", "Versions, their state and their share of the traffic, and adapters", List)
      ->add_flag("--events", arguments->events, "Also what happened to them");
  add("load", "Take a checkpoint's folder in, and wait until it answers or is rejected", Load)
      ->add_option("dir", arguments->path, "The folder, as the daemon sees it")
      ->required();
  add("reload", "The same with the newest published version", Reload);
  add("traffic", "Set the canary's share", SetTraffic)
      ->add_option("percent", arguments->percent, "0 to 100")
      ->required();
  add("promote", "Make the canary live now", Promote);
  add("rollback", "Take the canary back, or else the live version", Rollback)
      ->add_option("reason", arguments->reason, "For the log");
  add("unload", "Free the kept version, or take the canary back", Unload)
      ->add_option("version", arguments->version, "Its first digits, 8 or more")
      ->required();
  CLI::App* load_adapter =
      add("load-adapter", "Take a LoRA adapter in, and wait until MODEL:NAME answers", LoadAdapter);
  load_adapter->add_option("name", arguments->adapter, "What it is called")->required();
  load_adapter->add_option("dir", arguments->path, "Its folder, as the daemon sees it")->required();
  add("unload-adapter", "Take a LoRA adapter away", UnloadAdapter)
      ->add_option("name", arguments->adapter, "What it is called")
      ->required();
  add("watch", "What happens, as it happens", Watch);
}

}  // namespace llava::client
