#include "server/app.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/api/auth.h"
#include "server/api/chat_runner.h"
#include "server/api/grpc_chat.h"
#include "server/api/grpc_server.h"
#include "server/api/host_port.h"
#include "server/api/http/chat_route.h"
#include "server/api/http/model_routes.h"
#include "server/api/http/page_routes.h"
#include "server/api/http/server.h"
#include "server/api/http/status_routes.h"
#include "server/api/io_pool.h"
#include "server/api/prepare_pool.h"
#include "server/app_options.h"
#include "server/engine_metrics.h"
#include "server/live_model.h"
#include "server/observe/health.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/observe/process_metrics.h"

namespace llava::server {
namespace {

// After the drain the rest is cut off; this is how long that may take to reach the clients.
constexpr Duration kCutOff = std::chrono::seconds(2);
// An engine with work whose last step is older than this is stuck.
constexpr Duration kStalled = std::chrono::minutes(1);

}  // namespace

// In the order of construction; destroyed the other way round.
struct App::Parts {
  Parts(const Config& config_in, api::FetchOptions fetch, Backend* backend_in,
        const Clock* clock_in)
      : config(config_in),
        backend(backend_in),
        clock(clock_in),
        log(observe::Log::ToStderr({.level = config.log_level, .content = config.log_content},
                                   clock)),
        metrics(&metric_registry),
        engine_metrics(&metrics),
        admission(ToAdmissionOptions(config), clock),
        models(ModelName(config)),
        io(static_cast<int>(config.http_threads)),
        prepare(static_cast<int>(config.prepare_threads),
                static_cast<std::size_t>(config.queue_requests)),
        runner(ToRunnerOptions(config), &models, &admission, &prepare, &metrics, log.get(), clock),
        fetcher(std::move(fetch), clock),
        chat(&runner, &io, &auth),
        api_router(&auth),
        metrics_router(&no_auth) {}

  std::string Scrape();
  observe::Health::State Readiness() const;

  const Config config;
  Backend* const backend;
  const Clock* const clock;
  const std::unique_ptr<observe::Log> log;
  prometheus::Registry metric_registry;
  observe::Metrics metrics;
  observe::ProcessMetrics process_metrics;
  observe::Health health;
  EngineMetrics engine_metrics;
  api::Auth auth;
  const api::Auth no_auth;
  engine::AdmissionGate admission;
  std::vector<std::unique_ptr<engine::Engine>> engines;
  std::vector<engine::Engine*> engine_pointers;  // set before ready, constant afterwards
  LiveModel models;
  api::IoPool io;
  api::PreparePool prepare;
  api::ChatRunner runner;
  api::PictureFetcher fetcher;
  api::GrpcChat chat;
  api::HttpRouter api_router;
  api::HttpRouter metrics_router;
  std::unique_ptr<api::GrpcServer> grpc;
  std::unique_ptr<api::HttpServer> http;
  std::unique_ptr<api::HttpServer> metrics_http;
  bool stopped = false;
};

std::string App::Parts::Scrape() {
  const observe::Health::State state = Readiness();
  metrics.ready.Set(state.ready ? 1 : 0);
  if (health.state().ready) engine_metrics.Refresh(engine_pointers);
  auto families = metric_registry.Collect();
  auto process = process_metrics.Collect();
  families.insert(families.end(), std::make_move_iterator(process.begin()),
                  std::make_move_iterator(process.end()));
  return prometheus::TextSerializer().Serialize(families);
}

observe::Health::State App::Parts::Readiness() const {
  const observe::Health::State state = health.state();
  if (!state.ready) return state;
  for (const engine::Engine* engine : engine_pointers) {
    const engine::EngineStats stats = engine->stats();
    const bool busy = stats.running > stats.paused;
    if (busy && stats.last_step.has_value() && clock->Now() - *stats.last_step > kStalled) {
      return {false, "an engine has stalled"};
    }
  }
  return state;
}

App::App(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
App::~App() { Stop(); }

absl::Status App::Check(const Config& config) {
  RETURN_IF_ERROR(CheckConfig(config));
  for (const std::string& address : {config.listen, config.http, config.metrics}) {
    if (!address.empty()) RETURN_IF_ERROR(api::ParseHostPort(address).status());
  }
  RETURN_IF_ERROR(ReadTls(config).status());
  RETURN_IF_ERROR(ReadAuth(config).status());
  RETURN_IF_ERROR(ToFetchOptions(config).status());
  RETURN_IF_ERROR(api::CheckOrigins(config.cors_origins));
  if (config.checkpoint.empty()) {
    return absl::InvalidArgumentError("checkpoint: is empty, expected a checkpoint's folder");
  }
  return Annotate(registry::Preparer::Load(config.checkpoint, config.vision_tower).status(),
                  "checkpoint");
}

absl::StatusOr<std::unique_ptr<App>> App::Start(const Config& config, Backend* backend,
                                                const Clock* clock) {
  RETURN_IF_ERROR(CheckConfig(config));
  ASSIGN_OR_RETURN(const api::TlsFiles tls, ReadTls(config));
  ASSIGN_OR_RETURN(api::Auth auth, ReadAuth(config));
  ASSIGN_OR_RETURN(api::FetchOptions fetch, ToFetchOptions(config));
  auto parts = std::make_unique<Parts>(config, std::move(fetch), backend, clock);
  Parts* const p = parts.get();
  p->auth = std::move(auth);
  p->metrics.SetBuildInfo(LLAVA_VERSION);
  const api::StatusSources sources{[p] { return p->Scrape(); }, [p] { return p->Readiness(); }};
  api::AddStatusRoutes(sources, std::nullopt, &p->metrics_router);
  api::AddStatusRoutes(sources, api::Role::kAdmin, &p->api_router);
  api::AddModelRoutes(&p->runner, &p->api_router);
  api::AddChatRoute(&p->runner, &p->prepare, &p->fetcher, &p->api_router);
  api::AddPageRoutes(&p->api_router);
  auto app = std::unique_ptr<App>(new App(std::move(parts)));
  ASSIGN_OR_RETURN(p->grpc, api::GrpcServer::Start(ToGrpcOptions(config, tls), {&p->chat}));
  if (!config.http.empty()) {
    const api::HttpOptions options = ToHttpOptions(config, config.http, tls);
    ASSIGN_OR_RETURN(p->http, api::HttpServer::Start(options, &p->io, &p->api_router));
  }
  if (!config.metrics.empty()) {
    const api::HttpOptions options = ToHttpOptions(config, config.metrics, {});
    ASSIGN_OR_RETURN(p->metrics_http, api::HttpServer::Start(options, &p->io, &p->metrics_router));
  }
  p->health.Listen([p](const observe::Health::State& state) { p->grpc->SetServing(state.ready); });
  return app;
}

App::Ports App::ports() const {
  return {.grpc = parts_->grpc->port(),
          .http = parts_->http ? parts_->http->port() : 0,
          .metrics = parts_->metrics_http ? parts_->metrics_http->port() : 0};
}

absl::Status App::LoadModel() {
  Parts& p = *parts_;
  p.health.SetNotReady(absl::StrCat("loading ", p.config.checkpoint));
  const TimePoint start = p.clock->Now();
  auto served = std::make_shared<registry::ServedModel>();
  served->name = ModelName(p.config);
  ASSIGN_OR_RETURN(served->preparer,
                   registry::Preparer::Load(p.config.checkpoint, p.config.vision_tower));
  for (const std::string& warning : served->preparer->warnings()) p.log->Warning(warning);
  std::string dtype;
  for (const std::string& device : p.config.devices) {
    ASSIGN_OR_RETURN(const BackendModel model, p.backend->Load(p.config, device));
    ASSIGN_OR_RETURN(const engine::EngineOptions options,
                     ToEngineOptions(p.config, device, model, served->preparer->config()));
    ASSIGN_OR_RETURN(auto executor, p.backend->MakeExecutor(p.config, device, model,
                                                            options.scheduler.num_blocks));
    auto engine =
        std::make_unique<engine::Engine>(options, std::move(executor), p.clock, &p.engine_metrics);
    engine->Start();
    const absl::Status added = AddVersion(engine.get(), model.model);
    served->digest = model.model->version();
    p.engines.push_back(std::move(engine));
    RETURN_IF_ERROR(added);
    dtype = model.dtype;
  }
  served->version = served->digest.Hex();
  for (const auto& engine : p.engines) p.engine_pointers.push_back(engine.get());
  served->engines = p.engine_pointers;
  p.metrics.SetModelInfo(served->name, served->version, dtype, p.config.devices.front());
  p.models.Publish(served);
  p.health.SetReady();
  p.log->Info("ready", {{"model", served->name},
                        {"version", served->version},
                        {"dtype", dtype},
                        {"seconds", Seconds(p.clock->Now() - start)}});
  return absl::OkStatus();
}

bool App::Stop() {
  Parts& p = *parts_;
  if (p.stopped) return true;
  p.stopped = true;
  p.log->Info("draining", {{"seconds", Seconds(p.config.drain_timeout)}});
  p.health.Drain();
  p.runner.Drain();
  const bool drained = p.runner.WaitUntilEmpty(p.clock->Now() + p.config.drain_timeout);
  // What is left is told so by its engine.
  p.prepare.Stop();
  for (const auto& engine : p.engines) engine->Stop();
  const TimePoint cut_off = p.clock->Now() + kCutOff;
  p.health.Listen(nullptr);
  if (p.grpc) p.grpc->Stop(cut_off);
  if (p.http) p.http->Stop(cut_off);
  if (p.metrics_http) p.metrics_http->Stop(cut_off);
  p.runner.WaitUntilEmpty(TimePoint::max());
  p.io.Stop();
  p.log->Info("stopped", {{"all_answered", drained}});
  return drained;
}

}  // namespace llava::server
