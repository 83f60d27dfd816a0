#include "server/config/config_sections.h"

namespace llava::server {
namespace {

constexpr absl::string_view kLogLevelChoices[] = {"debug", "info", "warning", "error"};

constexpr Option kLogOptions[] = {
    {"log_level",
     &Config::log_level,
     "What is logged, as one JSON object a line on standard error.",
     Unit::kNone,
     {},
     kLogLevelChoices},
    {"log_content", &Config::log_content,
     "Whether the text of prompts and answers is logged. Pictures never are."},
};

}  // namespace

std::span<const Option> LogOptions() { return kLogOptions; }

}  // namespace llava::server
