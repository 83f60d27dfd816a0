#include "server/config/config_sections.h"

namespace llava::server {
namespace {

constexpr absl::string_view kReloadChoices[] = {"beside", "swap"};

constexpr Option kReloadOptions[] = {
    {"watch", &Config::watch,
     "Folder that versions are published to: what its link `latest` names is taken in "
     "when it moves. Empty: none."},
    {"watch_interval",
     &Config::watch_interval,
     "How often to look there without being notified: network file systems never notify.",
     Unit::kMilliseconds,
     {10, kHour}},
    {"reload",
     &Config::reload,
     "beside: a new version is loaded beside the one that answers, and refused when both "
     "do not fit into memory. swap: the old one goes first, and requests wait meanwhile; "
     "no canary and no kept version then.",
     Unit::kNone,
     {},
     kReloadChoices},
    {"keep_previous", &Config::keep_previous,
     "Whether the version before the live one stays in memory, for a rollback at once."},
    {"memory_reserve_bytes",
     &Config::memory_reserve_bytes,
     "A version is loaded only where so much of the machine's (or control group's) memory "
     "is left then.",
     Unit::kBytes,
     {0, 4096 * kGiB}},
    {"load_threads",
     &Config::load_threads,
     "Threads that check and load a version while another one answers; they run at low "
     "priority.",
     Unit::kCount,
     {1, 1024}},
};

}  // namespace

std::span<const Option> ReloadOptions() { return kReloadOptions; }

}  // namespace llava::server
