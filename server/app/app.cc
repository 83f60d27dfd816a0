#include "server/app/app.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/command_line/version.h"
#include "base/field_error.h"
#include "base/machine/cpu_count.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/config/hub_folder.h"
#include "rpc/auth.h"
#include "rpc/call_guard.h"
#include "rpc/grpc_log.h"
#include "rpc/grpc_server.h"
#include "rpc/port_probe.h"
#include "server/api/grpc/chat.h"
#include "server/api/grpc/feedback.h"
#include "server/api/grpc/models.h"
#include "server/api/http/batch_routes.h"
#include "server/api/http/chat_route.h"
#include "server/api/http/feedback_routes.h"
#include "server/api/http/model_routes.h"
#include "server/api/http/page_routes.h"
#include "server/api/http/row_asker.h"
#include "server/api/http/server.h"
#include "server/api/http/status_routes.h"
#include "server/app/app_options.h"
#include "server/app/batch_metrics.h"
#include "server/app/engine_metrics.h"
#include "server/app/hang_up.h"
#include "server/app/model_metrics.h"
#include "server/batches/service.h"
#include "server/capture/recorder.h"
#include "server/chat/chat_runner.h"
#include "server/chat/io_pool.h"
#include "server/chat/prepare_pool.h"
#include "server/hosting/adapter_files.h"
#include "server/hosting/checkpoint_weights.h"
#include "server/hosting/device_defaults.h"
#include "server/hosting/model_host.h"
#include "server/observe/health.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/observe/open_metrics.h"
#include "server/observe/process_metrics.h"
#include "server/observe/vllm_names.h"
#include "server/registry/adapter_directory.h"
#include "server/registry/adapter_table.h"
#include "server/registry/latest_watcher.h"
#include "server/registry/registry.h"
#include "server/tracing/trace_exporter.h"

namespace llava::server {
namespace {

// After the drain the rest is cut off; this is how long that may take to reach the clients. Half of
// it would do on a calm network, and Kubernetes waits 30 s in all unless it is told otherwise.
constexpr Duration kCutOff = std::chrono::seconds(2);
// An engine with work whose last step is older than this is stuck: the longest steps that were seen
// (a long prompt of a large model on few cores) take some seconds.
constexpr Duration kStalled = std::chrono::minutes(1);

}  // namespace

// In the order of construction; destroyed the other way round.
struct App::Parts {
  Parts(const Config& config_in, api::FetchOptions fetch, Backend* backend, const Clock* clock_in,
        std::function<void()> on_ready_in)
      : config(config_in),
        model_name(ModelName(config)),
        clock(clock_in),
        on_ready(std::move(on_ready_in)),
        log(observe::Log::ToStderr({.level = config.log_level, .content = config.log_content},
                                   clock)),
        metrics(&metric_registry),
        model_metrics(&metric_registry),
        engine_metrics(&metrics, &metric_registry),
        admission(ToAdmissionOptions(config), clock),
        host(config, backend, clock, log.get(), &engine_metrics),
        models(ToRegistryOptions(config), &host, clock,
               [this](const registry::VersionInfo& info, const std::string& cause) {
                 OnChange(info, cause);
               }),
        adapters({.max_adapters = static_cast<std::size_t>(config.max_adapters),
                  .max_bytes = config.adapter_bytes,
                  .canary = ToRegistryOptions(config).canary},
                 &host, &models.directory(), clock,
                 [this](const registry::AdapterInfo& info) { OnChange(info); }),
        directory(&models.directory(), &adapters),
        io(static_cast<int>(config.http_threads)),
        prepare(ChoosePrepareThreads(config, AvailableCpus()),
                2 * static_cast<std::size_t>(config.queue_requests)),  // half may be one tenant's
        traces(config.otlp_endpoint.empty()
                   ? nullptr
                   : std::make_unique<tracing::TraceExporter>(
                         config.otlp_endpoint, std::string(Version()), &metric_registry)),
        runner(ToRunnerOptions(config), &directory, &admission, &prepare, &metrics, log.get(),
               clock, traces.get()),
        fetcher(std::move(fetch), clock),
        guard(&auth, ToGuardLimits(config)),
        chat(&runner, &io, &guard),
        feedback(&guard),
        model_service({model_name, config.checkpoint, config.watch}, &models, &adapters, &guard,
                      log.get(), clock),
        api_router(&auth),
        metrics_router(&no_auth),
        grpc_log([this](bool is_error, const std::string& place, const std::string& message) {
          boost::json::object fields = {{"place", place}, {"message", Utf8Repair(message)}};
          is_error ? log->Warning("grpc", std::move(fields))
                   : log->Debug("grpc", std::move(fields));
        }) {}

  std::string Scrape(bool open_metrics);
  bool HasStalled() const;
  observe::Health::State Readiness() const;
  void OnChange(const registry::VersionInfo& info, const std::string& cause);
  void OnChange(const registry::AdapterInfo& info) const;
  absl::Status Watch();
  absl::Status OpenBatches();
  absl::Status OpenCapture();
  void LogDrain(Duration took) const;

  const Config config;
  const std::string model_name;  // what clients ask for; reading it may open the checkpoint's files
  const Clock* const clock;
  const std::function<void()> on_ready;
  const std::unique_ptr<observe::Log> log;
  prometheus::Registry metric_registry;
  observe::Metrics metrics;
  observe::ProcessMetrics process_metrics;
  observe::Health health;
  ModelMetrics model_metrics;
  EngineMetrics engine_metrics;
  rpc::Auth auth;
  const rpc::Auth no_auth;
  engine::AdmissionGate admission;
  ModelHost host;
  registry::Registry models;
  registry::AdapterTable adapters;  // asks `models`, which tells it of changes while it is served
  registry::AdapterDirectory directory;
  std::unique_ptr<batches::BatchService> batches;  // null: off. The io threads call it
  std::unique_ptr<capture::Recorder> recorder;     // null: off. The runner calls it
  api::IoPool io;
  api::PreparePool prepare;
  const std::unique_ptr<tracing::TraceExporter> traces;
  api::ChatRunner runner;
  api::ImageFetcher fetcher;
  rpc::CallGuard guard;
  api::GrpcChat chat;
  api::GrpcFeedback feedback;
  api::GrpcModels model_service;
  api::HttpRouter api_router;
  api::HttpRouter metrics_router;
  const rpc::GrpcLogRedirection grpc_log;
  std::unique_ptr<rpc::GrpcServer> grpc;
  std::unique_ptr<api::HttpServer> http;
  std::unique_ptr<api::HttpServer> metrics_http;
  std::unique_ptr<rpc::PortProbe> ports;
  std::unique_ptr<registry::LatestWatcher> watcher;
  registry::Ticket first;            // of the configured checkpoint; null: none
  bool was_ready = false;            // of the registry's lock
  std::optional<bool> all_answered;  // by Stop
};

std::string App::Parts::Scrape(bool open_metrics) {
  const observe::Health::State state = Readiness();
  metrics.ready.Set(state.ready ? 1 : 0);
  int serving = 0;
  std::int64_t adapter_bytes = 0;
  for (const registry::AdapterInfo& info : adapters.List()) {
    serving += info.state == registry::AdapterState::kServing ? 1 : 0;
    adapter_bytes += info.bytes;
  }
  metrics.adapters.Set(serving);
  metrics.adapter_bytes.Set(static_cast<double>(adapter_bytes));
  host.WithEngines([this](const auto& engines) {
    std::vector<engine::EngineStats> stats;
    for (const engine::Engine* engine : engines) stats.push_back(engine->stats());
    engine_metrics.Refresh(stats);
  });
  auto families = metric_registry.Collect();
  auto process = process_metrics.Collect();
  families.insert(families.end(), std::make_move_iterator(process.begin()),
                  std::make_move_iterator(process.end()));
  if (batches) {
    auto more = BatchMetrics(batches->counts());
    families.insert(families.end(), std::make_move_iterator(more.begin()),
                    std::make_move_iterator(more.end()));
  }
  if (config.metrics_dialect == "vllm") observe::AddVllmNames(model_name, &families);
  if (!open_metrics) return prometheus::TextSerializer().Serialize(families);
  return observe::OpenMetricsText(families, metrics.exemplars());
}

bool App::Parts::HasStalled() const {
  bool stalled = false;
  host.WithEngines([&](const auto& engines) {
    for (const engine::Engine* engine : engines) {
      const engine::EngineStats stats = engine->stats();
      const bool busy = stats.scheduler.running > stats.scheduler.paused;
      stalled |= busy && stats.last_step.has_value() && clock->Now() - *stats.last_step > kStalled;
    }
  });
  return stalled;
}

observe::Health::State App::Parts::Readiness() const {
  const observe::Health::State state = health.state();
  if (!state.ready) return state;
  if (HasStalled()) return {false, "an engine has stalled"};
  const std::string problem = ports == nullptr ? "" : ports->Problem();
  if (!problem.empty()) return {false, problem};
  return state;
}

// Under the registry's lock.
void App::Parts::OnChange(const registry::VersionInfo& info, const std::string& cause) {
  model_metrics.OnChange(info, cause);
  boost::json::object fields = {{"version", info.identity.digest.Hex()},
                                {"state", registry::StateName(info.state)},
                                {"dir", info.dir},
                                {"traffic", info.traffic}};
  if (!cause.empty()) fields["cause"] = cause;
  if (info.ending != registry::Ending::kNone) {
    fields["ending"] = registry::EndingName(info.ending);
  }
  if (!info.reason.empty()) fields["reason"] = info.reason;
  if (info.state == registry::VersionState::kRejected) {
    log->Warning("model version", std::move(fields));
  } else {
    log->Info("model version", std::move(fields));
  }
  if (info.state == registry::VersionState::kDraining && cause == "swap") {
    health.SetNotReady("a new version is being loaded in place of the old one");
  }
  if (info.state == registry::VersionState::kRejected && !health.state().ready) {
    health.SetNotReady(
        absl::StrCat("waiting for a version: ", info.dir, " was rejected: ", info.reason));
  }
  if (info.state != registry::VersionState::kLive) return;
  adapters.BaseChanged();
  metrics.SetModelInfo(model_name, info.identity.digest.Hex(), host.dtype(),
                       config.devices.front());
  health.SetReady();
  if (!std::exchange(was_ready, true) && on_ready) on_ready();
}

// Under the lock of the adapters.
void App::Parts::OnChange(const registry::AdapterInfo& info) const {
  boost::json::object fields = {
      {"adapter", info.name}, {"state", registry::StateName(info.state)}, {"dir", info.dir}};
  if (!info.digest.empty()) {
    fields["digest"] = info.digest;
    fields["rank"] = info.rank;
    fields["bytes"] = info.bytes;
  }
  if (!info.reason.empty()) fields["reason"] = info.reason;
  if (info.reason.empty()) {
    log->Info("adapter", std::move(fields));
  } else {
    metrics.adapter_rejections.Increment();
    log->Warning("adapter", std::move(fields));
  }
}

absl::Status App::Parts::Watch() {
  const auto on_latest = [this](const std::string& dir, bool replaced) {
    const auto queued =
        models.Load(dir, replaced ? registry::Origin::kOperator : registry::Origin::kPublished);
    if (queued.ok()) return;
    log->Warning("a published version is not taken in",
                 {{"dir", dir}, {"reason", MessageOf(queued.status())}});
  };
  ASSIGN_OR_RETURN(watcher,
                   registry::LatestWatcher::Start(config.watch, config.watch_interval, on_latest));
  if (!watcher->notified()) {
    log->Warning("the system gives no inotify instance: looking every watch_interval instead",
                 {{"watch", config.watch}});
  }
  return absl::OkStatus();
}

absl::Status App::Parts::OpenBatches() {
  if (config.batch_dir.empty()) return absl::OkStatus();
  batches::BatchService::Options options = ToBatchOptions(config);
  options.on_problem = [this](const std::string& batch, const absl::Status& problem) {
    log->Warning("files of batches", {{"batch", batch}, {"reason", MessageOf(problem)}});
  };
  auto opened = batches::BatchService::Open(options, clock);
  if (!opened.ok()) return Annotate(opened.status(), "batch_dir");
  batches = *std::move(opened);
  return absl::OkStatus();
}

absl::Status App::Parts::OpenCapture() {
  if (config.capture_dir.empty()) return absl::OkStatus();
  capture::Recorder::Options options = ToRecorderOptions(config);
  options.on_problem = [this](const absl::Status& problem) {
    log->Warning("captured turns", {{"reason", MessageOf(problem)}});
  };
  auto opened = capture::Recorder::Open(options, clock, &metrics);
  if (!opened.ok()) return Annotate(opened.status(), "capture_dir");
  recorder = *std::move(opened);
  runner.CaptureWith(recorder.get());
  feedback.Use(recorder.get());
  return absl::OkStatus();
}

// Whether the drain kept to its limit, and what it cost the clients.
void App::Parts::LogDrain(Duration took) const {
  boost::json::object fields = {{"all_answered", *all_answered},
                                {"drain_seconds", Seconds(took)},
                                {"drain_timeout_seconds", Seconds(config.drain_timeout)}};
  if (!*all_answered) {
    log->Warning("requests are cut off at the end of drain_timeout", std::move(fields));
  } else if (took > config.drain_timeout) {
    log->Warning("the drain took longer than drain_timeout: this process hardly got to run",
                 std::move(fields));
  } else {
    log->Info("drained", std::move(fields));
  }
}

App::App(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
App::~App() { Stop(); }

namespace {

// `text`: of their base; nullptr where it comes later.
absl::Status CheckAdapters(const Config& config, const model::TextConfig* text) {
  for (const auto& [name, dir] : config.adapters) {
    RETURN_IF_ERROR(Annotate(CheckAdapterFiles(dir, text), absl::StrCat("adapters: ", name)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status App::Check(const Config& config) {
  RETURN_IF_ERROR(CheckConfig(config));
  RETURN_IF_ERROR(CheckModelNames(config));
  RETURN_IF_ERROR(CheckAddresses(config));
  RETURN_IF_ERROR(ReadTls(config).status());
  RETURN_IF_ERROR(ReadAuth(config).status());
  RETURN_IF_ERROR(ToFetchOptions(config).status());
  RETURN_IF_ERROR(api::CheckOrigins(config.cors_origins));
  if (config.checkpoint.empty()) return CheckAdapters(config, nullptr);
  const absl::StatusOr<std::string> dir = model::SnapshotOf(config.checkpoint);
  if (!dir.ok()) return Annotate(dir.status(), "checkpoint");
  const auto processor = registry::Processor::Load(*dir, config.vision_tower, config.chat_template);
  if (!processor.ok()) return Annotate(processor.status(), "checkpoint");
  RETURN_IF_ERROR(Annotate(CheckWeightFiles(*dir, (*processor)->config()), "checkpoint"));
  return CheckAdapters(config, &(*processor)->config().text);
}

absl::StatusOr<std::unique_ptr<App>> App::Start(const Config& config, Backend* backend,
                                                const Clock* clock,
                                                std::function<void()> on_ready) {
  RETURN_IF_ERROR(CheckConfig(config));
  RETURN_IF_ERROR(CheckModelNames(config));
  RETURN_IF_ERROR(CheckAddresses(config));
  ASSIGN_OR_RETURN(const rpc::TlsFiles tls, ReadTls(config));
  ASSIGN_OR_RETURN(rpc::Auth auth, ReadAuth(config));
  ASSIGN_OR_RETURN(api::FetchOptions fetch, ToFetchOptions(config));
  auto parts =
      std::make_unique<Parts>(config, std::move(fetch), backend, clock, std::move(on_ready));
  Parts* const p = parts.get();
  p->auth = std::move(auth);
  p->admission.LeaveRoom(p->auth.has_several_tenants());
  p->metrics.SetBuildInfo(std::string(Version()), std::string(Commit()));
  p->metrics.certificate_expiry.Set(static_cast<double>(tls.expires));
  const api::StatusSources sources{[p](bool open_metrics) { return p->Scrape(open_metrics); },
                                   [p] { return p->Readiness(); }};
  api::AddStatusRoutes(sources, std::nullopt, &p->metrics_router);
  api::AddStatusRoutes(sources, rpc::Role::kAdmin, &p->api_router);
  api::AddModelRoutes(&p->runner, &p->api_router);
  api::AddChatRoute(&p->runner, &p->fetcher, std::string(Commit()), &p->api_router);
  RETURN_IF_ERROR(p->OpenBatches());
  api::AddBatchRoutes(p->batches.get(), &p->api_router);
  RETURN_IF_ERROR(p->OpenCapture());
  api::AddFeedbackRoutes(p->recorder.get(), &p->api_router);
  api::AddPageRoutes(&p->api_router);
  if (p->batches) {  // before HTTP, whose requests wait for it
    p->batches->Start(api::MakeRowAsker(&p->io, &p->api_router),
                      [p] { return p->health.state().ready; });
  }
  auto app = std::unique_ptr<App>(new App(std::move(parts)));
  ASSIGN_OR_RETURN(p->grpc,
                   rpc::GrpcServer::Start(ToGrpcOptions(config, tls),
                                          {&p->chat, &p->feedback, &p->model_service}, &p->guard));
  if (!config.http.empty()) {
    const api::HttpOptions options = ToHttpOptions(config, config.http, tls);
    ASSIGN_OR_RETURN(p->http, api::HttpServer::Start(options, &p->io, &p->api_router));
  }
  if (!config.metrics.empty()) {
    const api::HttpOptions options = ToHttpOptions(config, config.metrics, {});
    ASSIGN_OR_RETURN(p->metrics_http, api::HttpServer::Start(options, &p->io, &p->metrics_router));
  }
  ASSIGN_OR_RETURN(p->ports, rpc::PortProbe::Start(ToProbedPorts(config, app->ports()), {}));
  p->health.Listen([p](const observe::Health::State& state) { p->grpc->SetServing(state.ready); });
  return app;
}

App::Ports App::ports() const {
  return {.grpc = parts_->grpc->port(),
          .http = parts_->http ? parts_->http->port() : 0,
          .metrics = parts_->metrics_http ? parts_->metrics_http->port() : 0};
}

absl::Status App::Serve() {
  Parts& p = *parts_;
  const std::string wanted =
      !p.config.checkpoint.empty() ? absl::StrCat("loading ", p.config.checkpoint)
      : !p.config.watch.empty()
          ? absl::StrCat("waiting for a version: the link ", p.config.watch, "/latest")
          : "waiting for a version: neither checkpoint nor watch is configured, expected a call of "
            "ModelService.Load";
  p.health.SetNotReady(wanted);
  p.log->Info("not ready", {{"reason", wanted}});
  p.models.Start();
  p.adapters.Start();
  for (const auto& [name, dir] : p.config.adapters) {
    RETURN_IF_ERROR(p.adapters.Load(name, dir).status());
  }
  if (!p.config.checkpoint.empty()) {
    ASSIGN_OR_RETURN(p.first, p.models.Load(p.config.checkpoint, registry::Origin::kOperator));
  }
  return p.config.watch.empty() ? absl::OkStatus() : p.Watch();
}

absl::Status App::AwaitFirst() {
  Parts& p = *parts_;
  if (!p.config.watch.empty() || p.first == nullptr) return absl::OkStatus();
  return p.models.Await(p.first, TimePoint::max())->status;
}

bool App::HasStalled() const { return parts_->HasStalled(); }

void App::OnHangUp(const absl::StatusOr<Config>& now) {
  Parts& p = *parts_;
  ReadAgain(
      p.config, now,
      {&*p.log, &p.metrics, &p.auth, &p.admission, p.grpc.get(), p.http.get(), p.recorder.get()});
}

bool App::Stop() {
  Parts& p = *parts_;
  if (p.all_answered.has_value()) return *p.all_answered;
  const TimePoint begin = p.clock->Now();
  p.log->Info("draining", {{"seconds", Seconds(p.config.drain_timeout)}});
  p.watcher.reset();
  p.models.BeginStop();
  p.health.Drain();
  p.metrics.draining.Set(1);
  if (p.batches) p.batches->Drain();
  p.runner.Drain();
  p.all_answered = p.runner.WaitUntilEmpty(begin + p.config.drain_timeout);
  const TimePoint drained = p.clock->Now();
  p.LogDrain(drained - begin);
  // What is left is told so by the runner or its engine.
  p.runner.CutOff();
  p.prepare.Stop();
  p.host.StopEngines();
  const TimePoint cut_off = p.clock->Now() + kCutOff;
  p.health.Listen(nullptr);
  p.model_service.Stop();
  p.ports.reset();
  if (p.grpc) p.grpc->Stop(cut_off);
  if (p.http) p.http->Stop(cut_off);
  if (p.metrics_http) p.metrics_http->Stop(cut_off);
  p.runner.WaitUntilEmpty(TimePoint::max());
  if (p.batches) p.batches->Stop();
  p.io.Stop();
  if (p.recorder) p.recorder->Stop();
  p.adapters.Stop();
  p.models.Stop();
  p.log->Info("stopped", {{"all_answered", *p.all_answered},
                          {"drain_seconds", Seconds(drained - begin)},
                          {"stop_seconds", Seconds(p.clock->Now() - drained)}});
  return *p.all_answered;
}

}  // namespace llava::server
