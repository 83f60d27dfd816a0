#include "server/config/config_sections.h"
#include "server/scheduling/limits.h"

namespace llava::server {
namespace {

// Beyond any memory, and so that sums stay far from overflowing.
constexpr std::int64_t kMaxQueueTokens = std::int64_t{1} << 32;
constexpr std::int64_t kMaxQueuePixels = 100'000'000'000;

constexpr Option kQueueOptions[] = {
    {"queue_requests",
     &Config::queue_requests,
     "Requests that are accepted and not yet answered; more are refused.",
     Unit::kCount,
     {1, scheduling::kMaxRequests}},
    {"queue_tokens",
     &Config::queue_tokens,
     "Their tokens: prompts, and answers as long as they may become.",
     Unit::kCount,
     {1, kMaxQueueTokens}},
    {"queue_bytes",
     &Config::queue_bytes,
     "Their text and picture files, until the prompt is made of them.",
     Unit::kBytes,
     {1024, 1024 * kGiB}},
    {"queue_pixels",
     &Config::queue_pixels,
     "Their pictures, by width times height.",
     Unit::kPixels,
     {1, kMaxQueuePixels}},
    {"tenant_requests",
     &Config::tenant_requests,
     "Of queue_requests, those of one tenant.",
     Unit::kCount,
     {1, scheduling::kMaxRequests}},
    {"tenant_tokens",
     &Config::tenant_tokens,
     "Of queue_tokens, those of one tenant.",
     Unit::kCount,
     {1, kMaxQueueTokens}},
    {"tenant_bytes",
     &Config::tenant_bytes,
     "Of queue_bytes, those of one tenant.",
     Unit::kBytes,
     {1024, 1024 * kGiB}},
    {"tenant_pixels",
     &Config::tenant_pixels,
     "Of queue_pixels, those of one tenant.",
     Unit::kPixels,
     {1, kMaxQueuePixels}},
};

}  // namespace

std::span<const Option> QueueOptions() { return kQueueOptions; }

}  // namespace llava::server
