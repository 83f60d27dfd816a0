#include "training/commands/local_server.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"
#include "server/app/app.h"
#include "server/config/config.h"
#include "server/torch/torch_backend.h"

namespace llava::training {
namespace {

constexpr char kModelName[] = "evaluated";
constexpr char kAnyPort[] = "127.0.0.1:0";
constexpr std::int64_t kInFlight = 64;  // as many as the engine runs at a time
constexpr double kLongAnswerSeconds = 3600;

}  // namespace

// The app goes first when all ends.
struct LocalServer::Parts {
  RealClock clock;
  server::TorchBackend backend;
  std::unique_ptr<server::App> app;
};

LocalServer::LocalServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

LocalServer::~LocalServer() { parts_->app->Stop(); }

absl::StatusOr<std::unique_ptr<LocalServer>> LocalServer::Start(const LocalModel& model) {
  server::Config config;
  config.checkpoint = model.checkpoint;
  config.model_name = kModelName;
  config.chat_template = model.chat_template;
  config.vision_tower = model.vision_tower;
  config.devices = {model.device};
  config.listen = config.http = kAnyPort;
  config.metrics = "";
  config.log_level = "error";
  config.request_timeout = std::chrono::hours(1);
  auto parts = std::make_unique<Parts>();
  ASSIGN_OR_RETURN(parts->app, server::App::Start(config, &parts->backend, &parts->clock));
  auto server = std::unique_ptr<LocalServer>(new LocalServer(std::move(parts)));
  RETURN_IF_ERROR(server->parts_->app->Serve());
  RETURN_IF_ERROR(server->parts_->app->AwaitFirst());
  return server;
}

EndpointOptions LocalServer::endpoint() const {
  EndpointOptions options;
  options.base_url = absl::StrCat("http://127.0.0.1:", parts_->app->ports().http, "/v1");
  options.model = kModelName;
  options.any_model = true;
  options.max_in_flight = kInFlight;
  options.idle_seconds = options.total_seconds = kLongAnswerSeconds;
  return options;
}

std::string IdentityOf(const std::string& checkpoint) {
  const auto version = model::ReadManifest(checkpoint);
  if (version.ok()) return version->version;
  std::error_code error;
  return std::filesystem::weakly_canonical(checkpoint, error).string();
}

}  // namespace llava::training
