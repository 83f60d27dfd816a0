#include "server/config/config_sections.h"

namespace llava::server {
namespace {

constexpr Option kCaptureOptions[] = {
    {"capture_dir", &Config::capture_dir,
     "Folder that keeps turns and what people said of them, for llava-train to learn from; it is "
     "made where there is none. One server at a time uses it. Empty: nothing is kept."},
    {"capture_texts", &Config::capture_texts,
     "Tenants who have agreed that their turns are kept; of turns with pictures nothing is. "
     "Without tokens, whoever names no tenant is `default`. SIGHUP reads it again."},
    {"capture_pictures", &Config::capture_pictures,
     "Tenants who have agreed that their turns are kept with the pictures. SIGHUP reads it again."},
    {"capture_bytes",
     &Config::capture_bytes,
     "What the files there may have. Each tenant that is named has an equal share of it, at least "
     "16 MiB: when it is full, the oldest shards go of whoever has most above its share.",
     Unit::kBytes,
     {kGiB / 16, 1024 * 1024 * kGiB}},
    {"capture_retention",
     &Config::capture_retention,
     "How long a turn is kept at most.",
     Unit::kMilliseconds,
     {kHour, 10 * 365 * 24 * kHour}},
    {"capture_shard_time",
     &Config::capture_shard_time,
     "How long turns are written into one shard; llava-train reads those that are closed.",
     Unit::kMilliseconds,
     {100, 24 * kHour}},
};

}  // namespace

std::span<const Option> CaptureOptions() { return kCaptureOptions; }

}  // namespace llava::server
