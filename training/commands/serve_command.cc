#include "training/commands/serve_command.h"

#include <unistd.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "rpc/auth.h"
#include "rpc/call_guard.h"
#include "rpc/grpc_log.h"
#include "rpc/grpc_server.h"
#include "rpc/tls_files.h"
#include "training/commands/expose.h"
#include "training/recipe/recipe.h"
#include "training/service/job_metrics.h"
#include "training/service/job_runner.h"
#include "training/service/job_store.h"
#include "training/service/nights.h"
#include "training/service/service_config.h"
#include "training/service/training_service.h"

namespace llava::training {
namespace {

constexpr Duration kDrain = std::chrono::seconds(5);  // for calls that are being answered

std::string OwnProgram() {
  char path[PATH_MAX];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof(path));
  return size > 0 ? std::string(path, static_cast<std::size_t>(size)) : "llava-train";
}

void Warn(const absl::Status& status) {
  if (!status.ok()) std::fprintf(stderr, "%s\n", MessageOf(status).c_str());
}

void Log(const boost::json::object& line) {
  std::fprintf(stderr, "%s\n", boost::json::serialize(line).c_str());
}

// A line of JSON, as all others of the service.
void LogGrpc(bool is_error, const std::string& place, const std::string& message) {
  if (!is_error) return;
  Log({{"event", "grpc"}, {"place", place}, {"message", Utf8Repair(message)}});
}

TriggerJobs JobsOf(const std::string& name, JobStore& store, JobRunner& runner) {
  TriggerJobs jobs;
  jobs.find = [&store, name](const std::string& fingerprint) {
    return store.FindFingerprint(name, fingerprint);
  };
  jobs.trained = [&store, name](const std::string& fingerprint) {
    return store.TrainedBy(name, fingerprint);
  };
  jobs.newest = [&store, name] { return store.FindNewest(name); };
  jobs.create = [&runner, &store, name](const Job& wanted,
                                        const capture::AdmittedRows& captured) -> absl::Status {
    ASSIGN_OR_RETURN(const Job job, runner.Create(wanted));
    return captured.empty() ? absl::OkStatus() : store.RecordAdmitted(name, job.id, captured);
  };
  jobs.retry = [&runner](std::int64_t id) { return runner.Retry(id); };
  jobs.handled = [&store, name] { return store.HandledMillis(name); };
  jobs.set_handled = [&store, name](std::int64_t ms) { return store.SetHandledMillis(name, ms); };
  jobs.known = [&store, name] { return store.KnownShards(name); };
  jobs.quarantine = [&store, name](const std::string& sha256, const KnownShard& known) {
    return store.RecordShard(name, sha256, known);
  };
  jobs.learned = [&store, name] { return store.LearnedRows(name); };
  jobs.say = [name](const std::string& message) {
    Log({{"event", "trigger"}, {"trigger", name}, {"message", message}});
  };
  return jobs;
}

// One look of every trigger; on the runner's thread.
std::function<void(JobRunner&)> LookOfTriggers(const ServiceConfig& config, JobStore& store,
                                               const Clock& clock) {
  auto triggers = std::make_shared<std::vector<std::pair<std::string, Trigger>>>();
  for (const TriggerOptions& options : config.triggers) {
    triggers->emplace_back(options.name, Trigger(options));
  }
  return [triggers, &store, &clock](JobRunner& runner) {
    for (auto& [name, trigger] : *triggers) {
      Warn(trigger.Look(JobsOf(name, store, runner), clock.UnixMillis()));
    }
  };
}

absl::StatusOr<rpc::Auth> ReadAuth(const ServiceConfig& config) {
  if (config.tokens.empty()) return rpc::Auth();
  return rpc::Auth::FromFile(config.tokens);
}

absl::StatusOr<rpc::GrpcOptions> ReadGrpcOptions(const ServiceConfig& config) {
  rpc::GrpcOptions options;
  options.listen = config.listen;
  options.reflection = config.reflection;
  options.service_names = {"llava.v1.TrainingService"};
  ASSIGN_OR_RETURN(options.tls,
                   rpc::ReadTlsFiles(config.tls_certificate, config.tls_key, config.tls_client_ca));
  return options;
}

absl::Status Serve(const std::string& file, const sigset_t& signals) {
  ASSIGN_OR_RETURN(const ServiceConfig config, ReadServiceConfig(file));
  ASSIGN_OR_RETURN(const rpc::Auth auth, ReadAuth(config));
  ASSIGN_OR_RETURN(const rpc::GrpcOptions grpc_options, ReadGrpcOptions(config));
  std::error_code ignored;  // shows when the database cannot be opened
  std::filesystem::create_directories(config.folder, ignored);
  ASSIGN_OR_RETURN(const std::unique_ptr<JobStore> store,
                   JobStore::Open(config.folder + "/jobs.db"));
  const RealClock clock;
  ASSIGN_OR_RETURN(const std::unique_ptr<Nights> nights,
                   Nights::Start(config, OwnProgram(), *store, clock, Warn));
  JobRunnerOptions options;
  options.folder = config.folder;
  options.command = {OwnProgram(), "run"};
  options.max_running = static_cast<int>(config.max_running);
  options.max_unfinished = static_cast<int>(config.max_unfinished);
  options.grace = std::chrono::seconds(config.grace_seconds);
  options.tick_interval = std::chrono::seconds(config.trigger_seconds);
  if (!config.triggers.empty()) options.on_tick = LookOfTriggers(config, *store, clock);
  options.check_recipe = [](const std::string& recipe) {
    return ParseRecipe(recipe, "recipe").status();
  };
  options.steps_of = [&nights](const Job& job) { return nights->StepsOf(job); };
  options.on_end = [&nights](const Job& job) { nights->OnEnd(job); };
  options.on_problem = Warn;
  JobRunner runner(*store, clock, std::move(options));

  rpc::CallGuard guard(&auth);
  const rpc::GrpcLogRedirection grpc_log(&LogGrpc);
  TrainingServiceImpl service(runner, *store, guard, clock);
  ASSIGN_OR_RETURN(const std::unique_ptr<rpc::GrpcServer> server,
                   rpc::GrpcServer::Start(grpc_options, {&service}, &guard));
  server->SetServing(true);
  std::unique_ptr<prometheus::Exposer> exposer;
  const auto metrics = std::make_shared<JobMetrics>(*store, runner);
  if (!config.metrics.empty()) {
    ASSIGN_OR_RETURN(exposer, Expose(config.metrics, metrics));
  }
  std::printf("{\"event\":\"serving\",\"port\":%d,\"metrics_port\":%d}\n", server->port(),
              exposer == nullptr ? 0 : exposer->GetListeningPorts().front());
  std::fflush(stdout);
  int signal = 0;
  ::sigwait(&signals, &signal);
  server->SetServing(false);
  service.Stop();
  server->Stop(clock.Now() + kDrain);
  return absl::OkStatus();
}

}  // namespace

void AddServeCommand(CLI::App& app, int* exit_code) {
  auto file = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("serve", "Serve training jobs");
  command->add_option("--config", *file, "The service's YAML file")->required();
  command->callback([file, exit_code] {
    sigset_t signals;  // blocked before any thread starts: only sigwait gets them
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    const absl::Status status = Serve(*file, signals);
    if (status.ok()) return;
    std::fprintf(stderr, "llava-train serve: %s\n", MessageOf(status).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava::training
