#include "server/app/app_options.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/ip/address_v4.hpp>
#include <filesystem>
#include <limits>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/config/checkpoint_name.h"
#include "rpc/host_port.h"
#include "server/registry/adapter_loader.h"

namespace llava::server {

namespace {

// As many files as the process may open; connections are files.
std::int64_t OpenFiles() {
  rlimit limit = {};
  const bool known = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return known ? static_cast<std::int64_t>(limit.rlim_cur)
               : std::numeric_limits<std::int64_t>::max();
}

// An eighth of the files; ConnectionsWithin() says what HTTP may have. The rest is a reserve for
// checkpoints, image URLs, the log and the metrics port.
std::int64_t GrpcConnections(const Config& config) {
  return std::min(config.grpc_max_connections, std::max<std::int64_t>(4, OpenFiles() / 8));
}

}  // namespace

std::string ModelName(const Config& config) {
  if (!config.model_name.empty()) return config.model_name;
  if (!config.checkpoint.empty()) return model::CheckpointName(config.checkpoint);
  std::filesystem::path folder(config.watch);
  if (!folder.has_filename()) folder = folder.parent_path();
  const std::string name = model::FittingName(folder.filename().string());
  return name.empty() ? "llava" : name;
}

absl::Status CheckModelNames(const Config& config) {
  for (const auto& [adapter, dir] : config.adapters) {
    RETURN_IF_ERROR(Annotate(registry::CheckAdapterName(adapter), "adapters"));
  }
  if (std::ssize(config.adapters) > config.max_adapters) {
    return absl::InvalidArgumentError(absl::StrCat("max_adapters: ", config.max_adapters,
                                                   " is less than adapters has, ",
                                                   config.adapters.size()));
  }
  std::set<absl::string_view> taken;
  const std::string name = ModelName(config);
  for (const std::string& alias : config.model_aliases) {
    const auto is_odd = [](char c) {
      return c == '@' || absl::ascii_isspace(c) || absl::ascii_iscntrl(c);
    };
    if (alias.empty() || absl::c_any_of(alias, is_odd)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "model_aliases: '", alias,
          "', expected a name without spaces and @ (NAME@VERSION asks for a version)"));
    }
    if (alias == name) {
      return absl::InvalidArgumentError(
          absl::StrCat("model_aliases: '", alias, "' is the model's own name already"));
    }
    if (!taken.insert(alias).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("model_aliases: '", alias, "' stands there twice"));
    }
  }
  return absl::OkStatus();
}

namespace {

// Whether nobody can listen at both. Names are not looked up.
bool AreOne(const rpc::HostPort& a, const rpc::HostPort& b) {
  if (a.port != b.port || a.port == "0") return false;
  const auto is_v4 = [](const std::string& host) {
    boost::system::error_code error;
    boost::asio::ip::make_address_v4(host, error);
    return !error;
  };
  const bool all = a.host == "0.0.0.0" || b.host == "0.0.0.0";
  return a.host == b.host || (all && is_v4(a.host) && is_v4(b.host));
}

}  // namespace

absl::Status CheckAddresses(const Config& config) {
  std::vector<std::pair<std::string, rpc::HostPort>> taken;
  for (const auto& [option, address] : {std::pair("listen", &config.listen),
                                        {"http", &config.http},
                                        {"metrics", &config.metrics}}) {
    if (address->empty()) continue;
    const absl::StatusOr<rpc::HostPort> parsed = rpc::ParseHostPort(*address);
    if (!parsed.ok()) return Annotate(parsed.status(), option);
    for (const auto& [other, theirs] : taken) {
      if (!AreOne(theirs, *parsed)) continue;
      return absl::InvalidArgumentError(absl::StrCat(option, ": is ", *address, ", where ", other,
                                                     " is already, expected another port"));
    }
    taken.emplace_back(option, *parsed);
  }
  if (config.otlp_endpoint.empty()) return absl::OkStatus();
  return Annotate(rpc::ParseServer(config.otlp_endpoint).status(), "otlp_endpoint");
}

absl::StatusOr<rpc::TlsFiles> ReadTls(const Config& config) {
  return rpc::ReadTlsFiles(config.tls_certificate, config.tls_key, config.tls_client_ca);
}

absl::StatusOr<rpc::Auth> ReadAuth(const Config& config) {
  if (config.tokens_file.empty()) return rpc::Auth();
  auto auth = rpc::Auth::FromFile(config.tokens_file);
  if (!auth.ok()) return Annotate(auth.status(), "tokens_file");
  return auth;
}

scheduling::AdmissionOptions ToAdmissionOptions(const Config& config) {
  return {.total = {.requests = config.queue_requests,
                    .tokens = config.queue_tokens,
                    .bytes = config.queue_bytes,
                    .pixels = config.queue_pixels},
          .per_tenant = {.requests = config.tenant_requests,
                         .tokens = config.tenant_tokens,
                         .bytes = config.tenant_bytes,
                         .pixels = config.tenant_pixels}};
}

api::ChatRunner::Options ToRunnerOptions(const Config& config) {
  return {.limits = {.max_messages = static_cast<int>(config.max_messages),
                     .max_images = static_cast<int>(config.max_images),
                     .max_image_bytes = config.max_image_bytes,
                     .max_image_pixels = config.max_image_pixels,
                     .max_text_bytes = config.max_text_bytes,
                     .max_n = static_cast<int>(
                         std::min(config.max_n, config.max_running.value_or(config.max_n)))},
          .request_timeout = config.request_timeout,
          .canary_by_tenant = config.canary_by == "tenant",
          .caches_by_tenant = config.cache_isolation == "tenant"};
}

rpc::CallGuard::Limits ToGuardLimits(const Config& config) {
  // Two of the largest messages, or all that may wait anyway.
  return {.wire = {},
          .waits = {.patience = config.grpc_message_timeout},
          .max_parsing_bytes = std::max(config.queue_bytes, 2 * config.max_message_bytes)};
}

std::vector<rpc::ProbedPort> ToProbedPorts(const Config& config, const App::Ports& ports) {
  const bool tls = !config.tls_certificate.empty();
  std::vector<rpc::ProbedPort> probed = {
      {"gRPC", config.listen, ports.grpc, tls ? rpc::TlsGreeting() : rpc::Http2Greeting()}};
  if (!config.http.empty()) {
    probed.push_back(
        {"HTTP", config.http, ports.http, tls ? rpc::TlsGreeting() : rpc::Http1Greeting()});
  }
  return probed;
}

rpc::GrpcOptions ToGrpcOptions(const Config& config, const rpc::TlsFiles& tls) {
  return {.listen = config.listen,
          .tls = tls,
          .max_message_bytes = config.max_message_bytes,
          .memory_bytes = config.queue_bytes + 4 * config.max_message_bytes,
          .keepalive_min_interval = config.keepalive_min_interval,
          .connection_idle_timeout = config.connection_idle_timeout,
          .max_connections = GrpcConnections(config),
          .max_connections_per_address = config.grpc_max_connections_per_address,
          .reflection = config.reflection};
}

std::int64_t ConnectionsWithin(std::int64_t wanted, std::int64_t open_files) {
  const std::int64_t others = std::max<std::int64_t>(0, open_files - kOwnFiles);
  return std::min(wanted, std::max<std::int64_t>(1, others / 4 * 3));
}

api::HttpOptions ToHttpOptions(const Config& config, const std::string& listen,
                               const rpc::TlsFiles& tls) {
  return {.listen = listen,
          .tls = tls,
          .max_body_bytes = config.max_message_bytes,
          .max_bodies_bytes = config.queue_bytes + 4 * config.max_message_bytes,
          .min_body_rate = config.http_min_body_rate,
          .max_connections = ConnectionsWithin(config.http_max_connections, OpenFiles()),
          .idle_timeout = config.http_idle_timeout,
          .request_timeout = config.http_request_timeout,
          .cors_origins = config.cors_origins};
}

absl::StatusOr<api::FetchOptions> ToFetchOptions(const Config& config) {
  auto policy = api::AddressPolicy::Make(config.image_url_hosts, config.image_url_networks);
  if (!policy.ok()) return Annotate(policy.status(), "image_url_hosts, image_url_networks");
  return api::FetchOptions{.policy = *std::move(policy),
                           .max_images = config.max_images,
                           .max_image_bytes = config.max_image_bytes,
                           .max_request_bytes = config.max_message_bytes,
                           .max_total_bytes = config.queue_bytes,
                           .timeout = config.image_url_timeout};
}

batches::BatchService::Options ToBatchOptions(const Config& config) {
  const auto retention = std::chrono::duration_cast<std::chrono::seconds>(config.batch_retention);
  return {.store = {.dir = config.batch_dir,
                    .bytes = config.batch_bytes,
                    .tenant_bytes = config.batch_tenant_bytes,
                    .retention = retention.count()},
          .in_flight = static_cast<int>(config.batch_in_flight),
          .max_line = config.max_message_bytes,
          .in_flight_bytes = config.max_message_bytes};
}

capture::AgreedTenants ToAgreedTenants(const Config& config) {
  return {.texts = {config.capture_texts.begin(), config.capture_texts.end()},
          .pictures = {config.capture_pictures.begin(), config.capture_pictures.end()}};
}

capture::Recorder::Options ToRecorderOptions(const Config& config) {
  return {.store = {.dir = config.capture_dir,
                    .bytes = config.capture_bytes,
                    .retention = config.capture_retention,
                    .shard_time = config.capture_shard_time},
          .agreed = ToAgreedTenants(config)};
}

registry::RegistryOptions ToRegistryOptions(const Config& config) {
  const auto share = [](std::int64_t percent) { return static_cast<double>(percent) / 100; };
  const bool swap = config.reload == "swap";
  return {.model_name = ModelName(config),
          .model_aliases = config.model_aliases,
          .canary = {.traffic = swap ? 0 : share(config.canary_percent),
                     .min_answers = config.canary_min_answers,
                     .enough_answers = config.canary_answers,
                     .longest = config.canary_time,
                     .more_failures = share(config.canary_failures_percent),
                     .more_bad_answers = share(config.canary_bad_answers_percent),
                     .more_endless = share(config.canary_endless_percent),
                     .slower = 1 + share(config.canary_slower_percent),
                     .less_sure = 1 - share(config.canary_less_sure_percent)},
          .worse_evaluation = share(config.canary_evaluation_percent),
          .keep_previous = !swap && config.keep_previous,
          .swap = swap,
          .published = config.watch};
}

}  // namespace llava::server
