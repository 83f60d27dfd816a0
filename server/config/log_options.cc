#include "server/config/config_sections.h"

namespace llava::server {
namespace {

constexpr absl::string_view kLogLevelChoices[] = {"debug", "info", "warning", "error"};

constexpr absl::string_view kMetricsDialects[] = {"llava", "vllm"};

constexpr Option kLogOptions[] = {
    {"log_level",
     &Config::log_level,
     "What is logged, as one JSON object a line on standard error.",
     Unit::kNone,
     {},
     kLogLevelChoices},
    {"log_content", &Config::log_content,
     "Whether the text of prompts and answers is logged. Pictures never are."},
    {"otlp_endpoint", &Config::otlp_endpoint,
     "HOST:PORT of an OpenTelemetry collector that takes spans by plain gRPC; empty: none are "
     "made."},
    {"metrics_dialect",
     &Config::metrics_dialect,
     "vllm: /metrics has the names of vLLM too, for dashboards and autoscalers made for it.",
     Unit::kNone,
     {},
     kMetricsDialects},
};

}  // namespace

std::span<const Option> LogOptions() { return kLogOptions; }

}  // namespace llava::server
