#include "server/config/config_sections.h"

namespace llava::server {
namespace {

constexpr Option kNetworkOptions[] = {
    {"listen", &Config::listen, "HOST:PORT of gRPC. Port 0 picks a free one and prints it."},
    {"http", &Config::http, "HOST:PORT of the OpenAI-compatible HTTP API; empty: no HTTP API."},
    {"metrics", &Config::metrics,
     "HOST:PORT of /metrics, /healthz and /readyz without TLS and tokens, for Prometheus "
     "and probes; empty: none."},
    {"reflection", &Config::reflection, "Whether gRPC clients may ask for the protos (grpcurl)."},
    {"max_message_bytes",
     &Config::max_message_bytes,
     "Largest request, gRPC message or HTTP body; a file of /v1/files, which is not held in "
     "memory, "
     "has batch_tenant_bytes.",
     Unit::kBytes,
     {1024, kGiB}},
    {"keepalive_min_interval",
     &Config::keepalive_min_interval,
     "A gRPC client that pings more often is disconnected.",
     Unit::kMilliseconds,
     {0, kHour}},
    {"connection_idle_timeout",
     &Config::connection_idle_timeout,
     "A gRPC connection without a call for so long is closed.",
     Unit::kMilliseconds,
     {kSecond, 24 * kHour}},
    {"grpc_max_connections",
     &Config::grpc_max_connections,
     "gRPC connections at a time; more are closed at once.",
     Unit::kCount,
     {1, 1'000'000}},
    {"grpc_max_connections_per_address",
     &Config::grpc_max_connections_per_address,
     "Of them, those of one IPv4 address or IPv6 /64.",
     Unit::kCount,
     {1, 1'000'000}},
    {"grpc_message_timeout",
     &Config::grpc_message_timeout,
     "A gRPC call whose message takes longer to come is ended.",
     Unit::kMilliseconds,
     {100, kHour}},
    {"http_threads",
     &Config::http_threads,
     "Threads that serve all HTTP connections.",
     Unit::kCount,
     {1, 64}},
    {"http_max_connections",
     &Config::http_max_connections,
     "HTTP connections at a time, at most three quarters of the files that the process may open "
     "beyond 64; more are closed at once.",
     Unit::kCount,
     {1, 1'000'000}},
    {"http_idle_timeout",
     &Config::http_idle_timeout,
     "An HTTP connection without a request for so long is closed.",
     Unit::kMilliseconds,
     {kSecond, kHour}},
    {"http_request_timeout",
     &Config::http_request_timeout,
     "A client that takes longer to send a request, or to take in a piece of the answer, "
     "is disconnected.",
     Unit::kMilliseconds,
     {100, kHour}},
    {"http_min_body_rate",
     &Config::http_min_body_rate,
     "Bytes a second: a body that is slower, over five seconds, is not waited for.",
     Unit::kBytes,
     {0, kGiB}},
};

}  // namespace

std::span<const Option> NetworkOptions() { return kNetworkOptions; }

}  // namespace llava::server
