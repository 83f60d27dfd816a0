#include "server/app/serve_command.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <variant>

#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/clock.h"
#include "base/field_error.h"
#include "base/machine/file_limit.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "server/app/app.h"
#include "server/app/service_manager.h"
#include "server/app/signals.h"
#include "server/config/environment.h"
#include "server/hosting/device_defaults.h"

namespace llava::server {
namespace {

constexpr int kCutOff = 1;
constexpr int kCannotStart = 2;

// What --help shows for the value of a flag.
std::string ValueName(const Option& option) {
  struct Name {
    std::string operator()(bool Config::*) const { return "true|false"; }
    std::string operator()(std::int64_t Config::*) const { return "N"; }
    std::string operator()(std::optional<std::int64_t> Config::*) const { return "N|auto"; }
    std::string operator()(Duration Config::*) const { return "DURATION"; }
    std::string operator()(std::optional<Duration> Config::*) const { return "DURATION|auto"; }
    std::string operator()(std::string Config::*) const { return "TEXT"; }
    std::string operator()(std::vector<std::string> Config::*) const { return "A,B,..."; }
    std::string operator()(std::map<std::string, std::string> Config::*) const {
      return "NAME=TEXT,...";
    }
  };
  if (!option.choices.empty()) return absl::StrJoin(option.choices, "|");
  const std::string name = std::visit(Name(), option.member);
  return option.unit == Unit::kBytes ? absl::StrReplaceAll(name, {{"N", "BYTES"}}) : name;
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "llavad: %s\n", MessageOf(status).c_str());
  return kCannotStart;
}

// `address` with the port that was picked.
std::string WithPort(const std::string& address, int port) {
  return address.substr(0, address.rfind(':') + 1) + std::to_string(port);
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

// Says "ready" once the daemon is, and not before a signal would drain it: whoever reads the word
// may stop the daemon at once. Thread-safe.
class ReadyLine {
 public:
  void DaemonIsReady() { Set(&ready_); }
  void SignalsDrain() { Set(&drains_); }

 private:
  void Set(bool* condition) {
    MutexLock lock(&mutex_);
    *condition = true;
    if (!ready_ || !drains_) return;
    std::puts("ready");
    std::fflush(stdout);
  }

  Mutex mutex_;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool drains_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

ServeCommand::ServeCommand(CLI::App* app) {
  app->add_option("--config", config_file_, "YAML file; see --print-config")
      ->type_name("FILE")
      ->envname(kConfigVariable);
  app->add_flag("--print-config", print_config_, "Print the effective configuration and exit");
  app->add_flag("--check", check_, "Check configuration, files and checkpoint, and exit");
  for (const Section& section : Sections()) {
    for (const Option& option : section.options) AddFlag(section, option, app);
  }
}

void ServeCommand::AddFlag(const Section& section, const Option& option, CLI::App* app) {
  // One device is the usual case.
  const std::string names = FlagOf(option) + (option.name == "devices" ? ",--device" : "");
  CLI::Option* flag = app->add_option_function<std::string>(
      names, [this, &option](const std::string& text) { overrides_.emplace_back(&option, text); },
      std::string(option.help));
  flag->type_name(ValueName(option))->group(std::string(section.name));
  const std::string value = FormatValue(option, Config());
  if (value != "\"\"" && value != "[]" && value != "{}") flag->default_str(value);
}

absl::StatusOr<Config> ServeCommand::MakeConfig(Origins* origins) const {
  Config config;
  if (!config_file_.empty()) {
    ASSIGN_OR_RETURN(config, ReadConfigFile(config_file_, origins));
  }
  RETURN_IF_ERROR(SetFromEnvironment(environ, &config, origins));
  for (const auto& [option, text] : overrides_) {
    RETURN_IF_ERROR(SetOption(option->name, text, FlagOf(*option), &config));
    (*origins)[std::string(option->name)] = FlagOf(*option);
  }
  RETURN_IF_ERROR(CheckConfig(config));
  return config;
}

int ServeCommand::Run(Backend* backend) {
  Origins origins;
  const auto config = MakeConfig(&origins);
  if (!config.ok()) return Fail(config.status());
  if (print_config_) {
    std::fputs(PrintConfig(*config, origins, ExplainDefaults(*config, *backend)).c_str(), stdout);
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
  ReadyLine line;
  auto app = App::Start(config, backend, &clock, [&line] { line.DaemonIsReady(); });
  if (!app.ok()) return Fail(app.status());
  Announce(config, (*app)->ports());
  absl::Status serving = (*app)->Serve();
  if (!serving.ok()) return Fail(serving);
  // All threads are there, and block what stops the daemon: it is for the main thread alone.
  signals.LetThrough();
  serving = (*app)->AwaitFirst();
  if (!serving.ok()) return Fail(serving);
  signals.HoldBack();
  line.SignalsDrain();
  const ServiceManager manager;
  manager.Ready();
  const auto on_hang_up = [this, &app] {
    Origins origins;
    (*app)->OnHangUp(MakeConfig(&origins));
  };
  signals.Wait(on_hang_up, manager.progress_interval(), [&app, &manager] {
    if (!(*app)->HasStalled()) manager.Progresses();
  });
  manager.Stopping();
  return (*app)->Stop() ? 0 : kCutOff;
}

}  // namespace llava::server
