#include "server/config/config_table.h"

#include "server/scheduling/limits.h"

namespace llava::server {
namespace {

constexpr std::int64_t kSecond = 1000;
constexpr std::int64_t kHour = 3600 * kSecond;
constexpr std::int64_t kGiB = std::int64_t{1} << 30;

#define LLAVA_OPTION_FIELD(member) [](Config& c) -> Field { return &c.member; }

std::vector<Option> ModelOptions() {
  return {
      {.section = "Model",
       .name = "checkpoint",
       .field = LLAVA_OPTION_FIELD(checkpoint),
       .help =
           "Folder of the LLaVA checkpoint to serve (config.json, safetensors, tokenizer). Empty: "
           "the daemon waits for one, by watch or by ModelService."},
      {.section = "Model",
       .name = "model_name",
       .field = LLAVA_OPTION_FIELD(model_name),
       .help = "Name that clients ask for; empty: the name of the checkpoint's folder, or of the "
               "watched one."},
      {.section = "Model",
       .name = "vision_tower",
       .field = LLAVA_OPTION_FIELD(vision_tower),
       .help = "Folder of the CLIP vision tower, for checkpoints that come without it."},
      {.section = "Model",
       .name = "devices",
       .field = LLAVA_OPTION_FIELD(devices),
       .help = "One engine for each of these devices: cpu, cuda, or cuda:N."},
      {.section = "Model",
       .name = "dtype",
       .field = LLAVA_OPTION_FIELD(dtype),
       .help = "Number format of the weights; auto: as they were saved, float16 as bfloat16.",
       .choices = {"auto", "float32", "bfloat16"}},
      {.section = "Model",
       .name = "threads",
       .field = LLAVA_OPTION_FIELD(threads),
       .help = "Threads that compute on the CPU; 0: one for each core.",
       .max = 1024},
  };
}

std::vector<Option> ReloadOptions() {
  return {
      {.section = "Reload",
       .name = "watch",
       .field = LLAVA_OPTION_FIELD(watch),
       .help = "Folder that versions are published to: what its link `latest` names is taken in "
               "when it moves. Empty: none."},
      {.section = "Reload",
       .name = "watch_interval",
       .field = LLAVA_OPTION_FIELD(watch_interval),
       .help = "How often to look there without being notified: network file systems never notify.",
       .min = 10,
       .max = kHour},
      {.section = "Reload",
       .name = "reload",
       .field = LLAVA_OPTION_FIELD(reload),
       .help = "beside: a new version is loaded beside the one that answers, and refused when both "
               "do not fit into memory. swap: the old one goes first, and requests wait meanwhile; "
               "no canary and no kept version then.",
       .choices = {"beside", "swap"}},
      {.section = "Reload",
       .name = "keep_previous",
       .field = LLAVA_OPTION_FIELD(keep_previous),
       .help = "Whether the version before the live one stays in memory, for a rollback at once."},
      {.section = "Reload",
       .name = "memory_reserve_bytes",
       .field = LLAVA_OPTION_FIELD(memory_reserve_bytes),
       .help =
           "A version is loaded only where so much of the machine's (or control group's) memory "
           "is left then.",
       .unit = Unit::kBytes,
       .max = 4096 * kGiB},
      {.section = "Reload",
       .name = "load_threads",
       .field = LLAVA_OPTION_FIELD(load_threads),
       .help = "Threads that check and load a version while another one answers; they run at low "
               "priority.",
       .min = 1,
       .max = 1024},
  };
}

std::vector<Option> CanaryOptions() {
  return {
      {.section = "Canary",
       .name = "canary_percent",
       .field = LLAVA_OPTION_FIELD(canary_percent),
       .help = "Share of the traffic that a new version gets first; 0: it is live at once.",
       .max = 100},
      {.section = "Canary",
       .name = "canary_by",
       .field = LLAVA_OPTION_FIELD(canary_by),
       .help = "Who stays on one version: all of a tenant's requests, or those of a conversation "
               "(its first message).",
       .choices = {"conversation", "tenant"}},
      {.section = "Canary",
       .name = "canary_time",
       .field = LLAVA_OPTION_FIELD(canary_time),
       .help = "After so long a canary that is not worse becomes live.",
       .min = 1,
       .max = 168 * kHour},
      {.section = "Canary",
       .name = "canary_answers",
       .field = LLAVA_OPTION_FIELD(canary_answers),
       .help = "The same after so many of its answers.",
       .min = 1,
       .max = 1'000'000},
      {.section = "Canary",
       .name = "canary_min_answers",
       .field = LLAVA_OPTION_FIELD(canary_min_answers),
       .help = "It is not judged on fewer answers, except at the end of canary_time.",
       .min = 1,
       .max = 1'000'000},
      {.section = "Canary",
       .name = "canary_failures_percent",
       .field = LLAVA_OPTION_FIELD(canary_failures_percent),
       .help = "Rolled back when its share of failed answers is above the live version's by more.",
       .max = 100},
      {.section = "Canary",
       .name = "canary_bad_answers_percent",
       .field = LLAVA_OPTION_FIELD(canary_bad_answers_percent),
       .help = "The same for answers that are empty, repeat themselves or are no text (broken "
               "UTF-8, control characters).",
       .max = 100},
      {.section = "Canary",
       .name = "canary_endless_percent",
       .field = LLAVA_OPTION_FIELD(canary_endless_percent),
       .help = "The same for answers that go on until max_tokens (a model that does not know when "
               "to stop); 100: never.",
       .max = 100},
      {.section = "Canary",
       .name = "canary_slower_percent",
       .field = LLAVA_OPTION_FIELD(canary_slower_percent),
       .help = "Rolled back when its mean time to the first token, or between tokens, is longer by "
               "more.",
       .max = 100'000},
      {.section = "Canary",
       .name = "canary_less_sure_percent",
       .field = LLAVA_OPTION_FIELD(canary_less_sure_percent),
       .help = "Rolled back when the probability that it gives its own words is lower by more (a "
               "model that learned noise); 100: never.",
       .max = 100},
      {.section = "Canary",
       .name = "canary_evaluation_percent",
       .field = LLAVA_OPTION_FIELD(canary_evaluation_percent),
       .help = "Rolled back at once when the share of right answers in its manifest (evaluation, "
               "total) is below the live version's by more percentage points; 100: never.",
       .max = 100},
  };
}

std::vector<Option> EngineOptions() {
  return {
      {.section = "Engine",
       .name = "kv_cache_bytes",
       .field = LLAVA_OPTION_FIELD(kv_cache_bytes),
       .help = "Memory of the KV cache of one device, taken at the start.",
       .unit = Unit::kBytes,
       .min = 1 << 20,
       .max = 4096 * kGiB},
      {.section = "Engine",
       .name = "image_cache_bytes",
       .field = LLAVA_OPTION_FIELD(image_cache_bytes),
       .help = "Memory of encoded pictures that are kept for the next question about them.",
       .unit = Unit::kBytes,
       .max = 4096 * kGiB},
      {.section = "Engine",
       .name = "prefix_cache",
       .field = LLAVA_OPTION_FIELD(prefix_cache),
       .help = "Whether the KV cache of prompts is kept for those that begin alike."},
      {.section = "Engine",
       .name = "max_batch_tokens",
       .field = LLAVA_OPTION_FIELD(max_batch_tokens),
       .help = "Tokens of one step: longer prompts are cut into chunks between which others go on.",
       .min = 1,
       .max = scheduling::kMaxBatchTokens},
      {.section = "Engine",
       .name = "max_running",
       .field = LLAVA_OPTION_FIELD(max_running),
       .help = "Answers that are computed at the same time, at most max_batch_tokens.",
       .min = 1,
       .max = scheduling::kMaxRunning},
      {.section = "Engine",
       .name = "max_images_per_step",
       .field = LLAVA_OPTION_FIELD(max_images_per_step),
       .help = "Pictures that are encoded in one step.",
       .min = 1,
       .max = scheduling::kMaxImagesPerStep},
      {.section = "Engine",
       .name = "max_context_tokens",
       .field = LLAVA_OPTION_FIELD(max_context_tokens),
       .help = "Prompt and answer of one request; never more than the model's own limit.",
       .min = 2,
       .max = scheduling::kMaxContextTokens},
      {.section = "Engine",
       .name = "stream_tokens",
       .field = LLAVA_OPTION_FIELD(stream_tokens),
       .help = "Tokens that wait for a slow reader before its answer pauses.",
       .min = 1,
       .max = scheduling::kMaxStreamTokens},
  };
}

std::vector<Option> NetworkOptions() {
  return {
      {.section = "Network",
       .name = "listen",
       .field = LLAVA_OPTION_FIELD(listen),
       .help = "HOST:PORT of gRPC. Port 0 picks a free one and prints it."},
      {.section = "Network",
       .name = "http",
       .field = LLAVA_OPTION_FIELD(http),
       .help = "HOST:PORT of the OpenAI-compatible HTTP API; empty: no HTTP API."},
      {.section = "Network",
       .name = "metrics",
       .field = LLAVA_OPTION_FIELD(metrics),
       .help = "HOST:PORT of /metrics, /healthz and /readyz without TLS and tokens, for Prometheus "
               "and probes; empty: none."},
      {.section = "Network",
       .name = "reflection",
       .field = LLAVA_OPTION_FIELD(reflection),
       .help = "Whether gRPC clients may ask for the protos (grpcurl)."},
      {.section = "Network",
       .name = "max_message_bytes",
       .field = LLAVA_OPTION_FIELD(max_message_bytes),
       .help = "Largest request, gRPC message or HTTP body.",
       .unit = Unit::kBytes,
       .min = 1024,
       .max = kGiB},
      {.section = "Network",
       .name = "keepalive_min_interval",
       .field = LLAVA_OPTION_FIELD(keepalive_min_interval),
       .help = "A gRPC client that pings more often is disconnected.",
       .max = kHour},
      {.section = "Network",
       .name = "connection_idle_timeout",
       .field = LLAVA_OPTION_FIELD(connection_idle_timeout),
       .help = "A gRPC connection without a call for so long is closed.",
       .min = kSecond,
       .max = 24 * kHour},
      {.section = "Network",
       .name = "http_threads",
       .field = LLAVA_OPTION_FIELD(http_threads),
       .help = "Threads that serve all HTTP connections.",
       .min = 1,
       .max = 64},
      {.section = "Network",
       .name = "http_max_connections",
       .field = LLAVA_OPTION_FIELD(http_max_connections),
       .help = "HTTP connections at a time; more are closed at once.",
       .min = 1,
       .max = 1'000'000},
      {.section = "Network",
       .name = "http_idle_timeout",
       .field = LLAVA_OPTION_FIELD(http_idle_timeout),
       .help = "An HTTP connection without a request for so long is closed.",
       .min = kSecond,
       .max = kHour},
      {.section = "Network",
       .name = "http_request_timeout",
       .field = LLAVA_OPTION_FIELD(http_request_timeout),
       .help = "A client that takes longer to send a request, or to take in a piece of the answer, "
               "is disconnected.",
       .min = 100,
       .max = kHour},
  };
}

std::vector<Option> SecurityOptions() {
  return {
      {.section = "Security",
       .name = "tls_certificate",
       .field = LLAVA_OPTION_FIELD(tls_certificate),
       .help = "PEM file with the certificate chain; empty: no TLS."},
      {.section = "Security",
       .name = "tls_key",
       .field = LLAVA_OPTION_FIELD(tls_key),
       .help = "PEM file with the certificate's private key."},
      {.section = "Security",
       .name = "tls_client_ca",
       .field = LLAVA_OPTION_FIELD(tls_client_ca),
       .help = "PEM file; clients must show a certificate that one of these signed (mTLS)."},
      {.section = "Security",
       .name = "tokens_file",
       .field = LLAVA_OPTION_FIELD(tokens_file),
       .help = "File of bearer tokens, one a line: NAME ROLES sha256:HEX, where ROLES is chat, "
               "admin or chat,admin and HEX comes from `printf %s TOKEN | sha256sum`; "
               "empty: everybody may do everything."},
      {.section = "Security",
       .name = "cors_origins",
       .field = LLAVA_OPTION_FIELD(cors_origins),
       .help = "Origins, such as https://example.org, whose pages may call the HTTP API from a "
               "browser; * for all."},
      {.section = "Security",
       .name = "image_url_hosts",
       .field = LLAVA_OPTION_FIELD(image_url_hosts),
       .help =
           "Hosts that pictures may be fetched from when a client sends an http: or https: URL: "
           "example.org, example.org:8443, *.example.org (all below it); empty: none."},
      {.section = "Security",
       .name = "image_url_networks",
       .field = LLAVA_OPTION_FIELD(image_url_networks),
       .help =
           "Networks, such as 10.1.0.0/16, that these hosts may be in although they are private; "
           "all other addresses that are not public are refused."},
      {.section = "Security",
       .name = "image_url_timeout",
       .field = LLAVA_OPTION_FIELD(image_url_timeout),
       .help = "How long fetching all pictures of a request may take.",
       .min = 100,
       .max = 10 * 60 * kSecond},
  };
}

std::vector<Option> RequestOptions() {
  return {
      {.section = "Requests",
       .name = "request_timeout",
       .field = LLAVA_OPTION_FIELD(request_timeout),
       .help = "Longest life of a request, and that of those without a deadline.",
       .min = kSecond,
       .max = 24 * kHour},
      {.section = "Requests",
       .name = "drain_timeout",
       .field = LLAVA_OPTION_FIELD(drain_timeout),
       .help = "How long SIGTERM lets accepted requests finish.",
       .max = 24 * kHour},
      {.section = "Requests",
       .name = "prepare_threads",
       .field = LLAVA_OPTION_FIELD(prepare_threads),
       .help = "Threads that decode pictures and tokenize prompts.",
       .min = 1,
       .max = 256},
      {.section = "Requests",
       .name = "max_messages",
       .field = LLAVA_OPTION_FIELD(max_messages),
       .help = "Messages of one conversation.",
       .min = 1,
       .max = 100'000},
      {.section = "Requests",
       .name = "max_images",
       .field = LLAVA_OPTION_FIELD(max_images),
       .help = "Pictures of one request.",
       .max = 1024},
      {.section = "Requests",
       .name = "max_image_bytes",
       .field = LLAVA_OPTION_FIELD(max_image_bytes),
       .help = "Size of one picture's file.",
       .unit = Unit::kBytes,
       .min = 1024,
       .max = kGiB},
      {.section = "Requests",
       .name = "max_image_pixels",
       .field = LLAVA_OPTION_FIELD(max_image_pixels),
       .help = "Width times height of one picture, checked before it is decoded.",
       .unit = Unit::kPixels,
       .min = 1,
       .max = 1'000'000'000},
      {.section = "Requests",
       .name = "max_text_bytes",
       .field = LLAVA_OPTION_FIELD(max_text_bytes),
       .help = "All text of one request.",
       .unit = Unit::kBytes,
       .min = 1,
       .max = kGiB},
      {.section = "Requests",
       .name = "max_n",
       .field = LLAVA_OPTION_FIELD(max_n),
       .help = "Answers of one request; max_running bounds them too.",
       .min = 1,
       .max = scheduling::kMaxChoices},
  };
}

constexpr std::int64_t kMaxQueueTokens = std::int64_t{1} << 32;
constexpr std::int64_t kMaxQueuePixels = 100'000'000'000;

// What may be accepted and not yet answered.
std::vector<Option> QueueOptions() {
  return {
      {.section = "Queue",
       .name = "queue_requests",
       .field = LLAVA_OPTION_FIELD(queue_requests),
       .help = "Requests that are accepted and not yet answered; more are refused.",
       .min = 1,
       .max = scheduling::kMaxRequests},
      {.section = "Queue",
       .name = "queue_tokens",
       .field = LLAVA_OPTION_FIELD(queue_tokens),
       .help = "Their tokens: prompts, and answers as long as they may become.",
       .min = 1,
       .max = kMaxQueueTokens},
      {.section = "Queue",
       .name = "queue_bytes",
       .field = LLAVA_OPTION_FIELD(queue_bytes),
       .help = "Their text and picture files.",
       .unit = Unit::kBytes,
       .min = 1024,
       .max = 1024 * kGiB},
      {.section = "Queue",
       .name = "queue_pixels",
       .field = LLAVA_OPTION_FIELD(queue_pixels),
       .help = "Their pictures, by width times height.",
       .unit = Unit::kPixels,
       .min = 1,
       .max = kMaxQueuePixels},
      {.section = "Queue",
       .name = "tenant_requests",
       .field = LLAVA_OPTION_FIELD(tenant_requests),
       .help = "Of queue_requests, those of one tenant.",
       .min = 1,
       .max = scheduling::kMaxRequests},
      {.section = "Queue",
       .name = "tenant_tokens",
       .field = LLAVA_OPTION_FIELD(tenant_tokens),
       .help = "Of queue_tokens, those of one tenant.",
       .min = 1,
       .max = kMaxQueueTokens},
      {.section = "Queue",
       .name = "tenant_bytes",
       .field = LLAVA_OPTION_FIELD(tenant_bytes),
       .help = "Of queue_bytes, those of one tenant.",
       .unit = Unit::kBytes,
       .min = 1024,
       .max = 1024 * kGiB},
      {.section = "Queue",
       .name = "tenant_pixels",
       .field = LLAVA_OPTION_FIELD(tenant_pixels),
       .help = "Of queue_pixels, those of one tenant.",
       .unit = Unit::kPixels,
       .min = 1,
       .max = kMaxQueuePixels},
  };
}

std::vector<Option> LogOptions() {
  return {
      {.section = "Log",
       .name = "log_level",
       .field = LLAVA_OPTION_FIELD(log_level),
       .help = "What is logged, as one JSON object a line on standard error.",
       .choices = {"debug", "info", "warning", "error"}},
      {.section = "Log",
       .name = "log_content",
       .field = LLAVA_OPTION_FIELD(log_content),
       .help = "Whether the text of prompts and answers is logged. Pictures never are."},
  };
}

std::vector<Option> AllOptions() {
  std::vector<Option> all;
  for (const auto& part :
       {ModelOptions(), ReloadOptions(), CanaryOptions(), EngineOptions(), NetworkOptions(),
        SecurityOptions(), RequestOptions(), QueueOptions(), LogOptions()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace

std::span<const Option> Options() {
  static const std::vector<Option>& options = *new std::vector<Option>(AllOptions());
  return options;
}

const Option* FindOption(absl::string_view name) {
  for (const Option& option : Options()) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

}  // namespace llava::server
