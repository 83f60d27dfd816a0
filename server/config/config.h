// The configuration of llavad: one flat YAML file, read strictly. Every option stands once, in the
// table of config_table.h; reading, environment variables, the flags of the command line,
// --print-config and docs/configuration.md all come from it.
//
//   ASSIGN_OR_RETURN(Config config, ReadConfigFile("/etc/llavad.yaml"));
//   RETURN_IF_ERROR(SetOption("listen", "127.0.0.1:0", "--listen", &config));
//
// An unknown key, a wrong type or a value out of range is INVALID_ARGUMENT with the file, the line
// and what was expected.
#ifndef LLAVA_SERVER_CONFIG_CONFIG_H_
#define LLAVA_SERVER_CONFIG_CONFIG_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"

namespace llava::server {

// A default is what a member starts with; meaning, unit and range stand in the table. No value is
// `auto`: chosen from the device and the model (server/hosting/device_defaults.h).
struct Config {
  std::string checkpoint;
  std::string model_name;
  std::vector<std::string> model_aliases;
  std::string vision_tower;
  std::string chat_template;
  std::vector<std::string> devices = {"cpu"};
  std::string dtype = "auto";
  std::string weights = "auto";
  std::string kv_cache = "auto";
  std::map<std::string, std::string> adapters;
  std::int64_t max_adapters = 64;
  std::int64_t adapter_bytes = std::int64_t{1} << 30;
  std::optional<std::int64_t> threads;

  std::string watch;
  Duration watch_interval = std::chrono::seconds(10);
  std::string reload = "beside";
  bool keep_previous = true;
  std::int64_t memory_reserve_bytes = std::int64_t{256} << 20;
  std::int64_t load_threads = 1;
  std::int64_t canary_percent = 10;
  std::string canary_by = "conversation";
  Duration canary_time = std::chrono::minutes(10);
  std::int64_t canary_min_answers = 20;
  std::int64_t canary_answers = 200;
  std::int64_t canary_failures_percent = 2;
  std::int64_t canary_bad_answers_percent = 5;
  std::int64_t canary_endless_percent = 50;
  std::int64_t canary_slower_percent = 50;
  std::int64_t canary_less_sure_percent = 50;
  std::int64_t canary_evaluation_percent = 10;

  std::optional<std::int64_t> kv_cache_bytes;
  std::int64_t image_cache_bytes = std::int64_t{256} << 20;
  bool prefix_cache = true;
  std::string cuda_graphs = "auto";
  std::int64_t draft_tokens = 8;
  std::optional<std::int64_t> max_batch_tokens;
  std::optional<std::int64_t> max_running;
  std::optional<std::int64_t> max_images_per_step;
  std::int64_t max_context_tokens = 4096;
  std::int64_t stream_tokens = 64;
  std::optional<Duration> max_step_time;

  std::string listen = "127.0.0.1:50051";
  std::string http = "127.0.0.1:8080";
  std::string metrics = "127.0.0.1:9090";
  bool reflection = true;
  std::int64_t max_message_bytes = std::int64_t{64} << 20;
  Duration keepalive_min_interval = std::chrono::seconds(10);
  Duration connection_idle_timeout = std::chrono::minutes(30);
  std::int64_t grpc_max_connections = 4096;
  std::int64_t grpc_max_connections_per_address = 256;
  std::int64_t http_threads = 2;
  std::int64_t http_max_connections = 16384;
  Duration http_idle_timeout = std::chrono::seconds(60);
  Duration http_request_timeout = std::chrono::seconds(30);
  Duration grpc_message_timeout = std::chrono::seconds(30);
  std::int64_t http_min_body_rate = 16 << 10;

  std::string tls_certificate;
  std::string tls_key;
  std::string tls_client_ca;
  std::string tokens_file;
  std::string cache_isolation = "tenant";
  std::vector<std::string> cors_origins;
  std::vector<std::string> image_url_hosts;
  std::vector<std::string> image_url_networks;
  Duration image_url_timeout = std::chrono::seconds(10);

  Duration request_timeout = std::chrono::minutes(10);
  Duration drain_timeout = std::chrono::seconds(30);
  std::int64_t queue_requests = 256;
  std::int64_t queue_tokens = 1 << 20;
  std::int64_t queue_bytes = std::int64_t{512} << 20;
  std::int64_t queue_pixels = 400'000'000;
  std::int64_t tenant_requests = 256;
  std::int64_t tenant_tokens = 1 << 20;
  std::int64_t tenant_bytes = std::int64_t{512} << 20;
  std::int64_t tenant_pixels = 400'000'000;
  std::optional<std::int64_t> prepare_threads;
  std::int64_t max_messages = 256;
  std::int64_t max_images = 16;
  std::int64_t max_image_bytes = std::int64_t{20} << 20;
  std::int64_t max_image_pixels = 50'000'000;
  std::int64_t max_text_bytes = std::int64_t{1} << 20;
  std::int64_t max_n = 8;

  std::string batch_dir;
  std::int64_t batch_bytes = std::int64_t{16} << 30;
  std::int64_t batch_tenant_bytes = std::int64_t{4} << 30;
  Duration batch_retention = std::chrono::hours(30 * 24);
  std::int64_t batch_in_flight = 64;

  std::string capture_dir;
  std::vector<std::string> capture_texts;
  std::vector<std::string> capture_pictures;
  std::int64_t capture_bytes = std::int64_t{4} << 30;
  Duration capture_retention = std::chrono::hours(30 * 24);
  Duration capture_shard_time = std::chrono::hours(1);

  std::string log_level = "info";
  bool log_content = false;
  std::string otlp_endpoint;
  std::string metrics_dialect = "llava";
};

// By the option's name, where its value came from: a file's name, "LLAVAD_MAX_N", "--max-n". What
// is missing has its default.
using Origins = std::map<std::string, std::string>;

// The options of `path` over the defaults. `origins` may be null.
absl::StatusOr<Config> ReadConfigFile(const std::string& path, Origins* origins = nullptr);

// The same from text; `source` stands for the file's name in messages.
absl::StatusOr<Config> ParseConfig(const std::string& yaml, const std::string& source,
                                   Origins* origins = nullptr);

// One option from the text of a flag or variable; lists are comma-separated, an empty text is the
// empty list. `source` names it. REQUIRES: the table has an option of this name.
absl::Status SetOption(absl::string_view name, const std::string& text, absl::string_view source,
                       Config* config);

// What no single option shows, such as a certificate without its key.
absl::Status CheckConfig(const Config& config);

// The effective YAML: every option with its help and where its value came from; those at their
// default are commented out. `notes`: by the option's name, what is said beside its help.
// Invariant: ParseConfig(PrintConfig(c)) gives c.
std::string PrintConfig(const Config& config, const Origins& origins = {},
                        const std::map<std::string, std::string>& notes = {});

// docs/configuration.md.
std::string ConfigReference();

}  // namespace llava::server

#endif  // LLAVA_SERVER_CONFIG_CONFIG_H_
