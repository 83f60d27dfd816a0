#include "server/app/serve_command.h"

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/clock.h"
#include "base/status_macros.h"
#include "server/app/app.h"
#include "server/app/signals.h"
#include "server/config/config.h"

namespace llava::server {
namespace {

constexpr int kCutOff = 1;
constexpr int kCannotStart = 2;

struct Flag {
  const char* flag;
  const char* option;
  const char* help;
};
constexpr Flag kFlags[] = {
    {"--checkpoint", "checkpoint", "Folder of the checkpoint"},
    {"--watch", "watch", "Folder that versions are published to"},
    {"--device", "devices", "Devices, comma-separated: cpu, cuda:0"},
    {"--dtype", "dtype", "auto, float32 or bfloat16"},
    {"--listen", "listen", "HOST:PORT of gRPC; port 0 picks one"},
    {"--http", "http", "HOST:PORT of HTTP; empty for none"},
    {"--metrics", "metrics", "HOST:PORT of /metrics; empty for none"},
};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "llavad: %s\n", std::string(status.message()).c_str());
  return kCannotStart;
}

absl::StatusOr<Config> MakeConfig(const std::string& file,
                                  const std::map<std::string, std::string>& overrides) {
  Config config;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(config, ReadConfigFile(file));
  }
  for (const Flag& flag : kFlags) {
    const auto set = overrides.find(flag.option);
    if (set == overrides.end()) continue;
    RETURN_IF_ERROR(SetOption(flag.option, set->second, flag.flag, &config));
  }
  RETURN_IF_ERROR(CheckConfig(config));
  return config;
}

// `address` with the port that was picked.
std::string WithPort(const std::string& address, int port) {
  return address.substr(0, address.rfind(':') + 1) + std::to_string(port);
}

// Connections are files; shells give few of them and leave the rest to the asking.
void RaiseFileLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

void Announce(const Config& config, const App::Ports& ports) {
  std::printf("grpc %s\n", WithPort(config.listen, ports.grpc).c_str());
  const char* scheme = config.tls_certificate.empty() ? "http" : "https";
  if (ports.http != 0) {
    std::printf("http %s://%s\n", scheme, WithPort(config.http, ports.http).c_str());
  }
  if (ports.metrics != 0) {
    std::printf("metrics http://%s/metrics\n", WithPort(config.metrics, ports.metrics).c_str());
  }
  std::fflush(stdout);
}

}  // namespace

ServeCommand::ServeCommand(CLI::App* app) {
  app->add_option("--config", config_file_, "YAML file; see --print-config");
  for (const Flag& flag : kFlags) {
    app->add_option_function<std::string>(
        flag.flag, [this, &flag](const std::string& text) { overrides_[flag.option] = text; },
        flag.help);
  }
  app->add_flag("--print-config", print_config_, "Print the effective configuration and exit");
  app->add_flag("--check", check_, "Check configuration, files and checkpoint, and exit");
}

int ServeCommand::Run(Backend* backend) {
  const auto config = MakeConfig(config_file_, overrides_);
  if (!config.ok()) return Fail(config.status());
  if (print_config_) {
    std::fputs(PrintConfig(*config).c_str(), stdout);
    return 0;
  }
  if (check_) {
    const absl::Status status = App::Check(*config);
    if (!status.ok()) return Fail(status);
    std::puts("ok");
    return 0;
  }
  return Serve(*config, backend);
}

int ServeCommand::Serve(const Config& config, Backend* backend) {
  RaiseFileLimit();
  Signals signals;
  const RealClock clock;
  const auto say_ready = [] {
    std::puts("ready");
    std::fflush(stdout);
  };
  auto app = App::Start(config, backend, &clock, say_ready);
  if (!app.ok()) return Fail(app.status());
  Announce(config, (*app)->ports());
  absl::Status serving = (*app)->Serve();
  if (!serving.ok()) return Fail(serving);
  // All threads are there, and block what stops the daemon: it is for the main thread alone.
  signals.LetThrough();
  serving = (*app)->AwaitFirst();
  if (!serving.ok()) return Fail(serving);
  signals.Wait();
  return (*app)->Stop() ? 0 : kCutOff;
}

}  // namespace llava::server
