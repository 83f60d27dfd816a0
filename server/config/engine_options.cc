#include "server/config/config_sections.h"
#include "server/scheduling/limits.h"

namespace llava::server {
namespace {

constexpr Option kEngineOptions[] = {
    {"kv_cache_bytes",
     &Config::kv_cache_bytes,
     "Memory of the KV cache of one device, taken at the start.",
     Unit::kBytes,
     {1 << 20, 4096 * kGiB}},
    {"image_cache_bytes",
     &Config::image_cache_bytes,
     "Memory of encoded pictures that are kept for the next question about them.",
     Unit::kBytes,
     {0, 4096 * kGiB}},
    {"prefix_cache", &Config::prefix_cache,
     "Whether the KV cache of prompts is kept for those that begin alike."},
    {"max_batch_tokens",
     &Config::max_batch_tokens,
     "Tokens of one step: longer prompts are cut into chunks between which others go on.",
     Unit::kCount,
     {1, scheduling::kMaxBatchTokens}},
    {"max_running",
     &Config::max_running,
     "Answers that are computed at the same time, at most max_batch_tokens.",
     Unit::kCount,
     {1, scheduling::kMaxRunning}},
    {"max_images_per_step",
     &Config::max_images_per_step,
     "Pictures, or tiles of pictures, that are encoded in one step.",
     Unit::kCount,
     {1, scheduling::kMaxImagesPerStep}},
    {"max_context_tokens",
     &Config::max_context_tokens,
     "Prompt and answer of one request; never more than the model's own limit.",
     Unit::kCount,
     {2, scheduling::kMaxContextTokens}},
    {"stream_tokens",
     &Config::stream_tokens,
     "Tokens that wait for a slow reader before its answer pauses.",
     Unit::kCount,
     {1, scheduling::kMaxStreamTokens}},
};

}  // namespace

std::span<const Option> EngineOptions() { return kEngineOptions; }

}  // namespace llava::server
