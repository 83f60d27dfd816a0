#include "server/config/config_sections.h"
#include "server/scheduling/limits.h"

namespace llava::server {
namespace {

constexpr absl::string_view kCudaGraphsChoices[] = {"auto", "off"};

constexpr Option kEngineOptions[] = {
    {"kv_cache_bytes",
     &Config::kv_cache_bytes,
     "Memory of the KV cache of one device (of a sum: of each), taken at the start. auto: on a GPU "
     "most of what the "
     "weights, a step and a second version (reload: beside) leave; on CPUs half of it, and no more "
     "than all answers can use.",
     Unit::kBytes,
     {1 << 20, 4096 * kGiB}},
    {"image_cache_bytes",
     &Config::image_cache_bytes,
     "Memory of encoded pictures that are kept for the next question about them.",
     Unit::kBytes,
     {0, 4096 * kGiB}},
    {"prefix_cache", &Config::prefix_cache,
     "Whether the KV cache of prompts is kept for those that begin alike."},
    {"cuda_graphs",
     &Config::cuda_graphs,
     "Steps that only decode, and pictures, on a GPU: auto records each size of them when it is "
     "met "
     "for the second time and then runs it with one launch, for which an automatic KV cache leaves "
     "some room; off runs all launch by launch. Nothing is recorded on CPUs and on sums of "
     "devices.",
     Unit::kNone,
     {},
     kCudaGraphsChoices},
    {"draft_tokens",
     &Config::draft_tokens,
     "Tokens of an answer that one step may guess, on CPUs (not on more than two in a sum): those "
     "that followed where prompt or "
     "answer read the same before. The answer is the same with and without; nothing is guessed "
     "beside prompts, where guesses have not come true, and where a step would take too long. 0: "
     "none.",
     Unit::kCount,
     {0, scheduling::kMaxDraftTokens}},
    {"max_batch_tokens",
     &Config::max_batch_tokens,
     "Tokens of one step: longer prompts are cut into chunks between which others go on. auto: "
     "2048 "
     "on a GPU, else 512, and at least max_running.",
     Unit::kCount,
     {1, scheduling::kMaxBatchTokens}},
    {"max_running",
     &Config::max_running,
     "Answers that are computed at the same time, at most max_batch_tokens. auto: one for 512 "
     "tokens of the KV cache, at least max_n, at most 256 on a GPU and 64 on CPUs.",
     Unit::kCount,
     {1, scheduling::kMaxRunning}},
    {"max_images_per_step",
     &Config::max_images_per_step,
     "Pictures, or tiles of pictures, that are encoded in one step. auto: 1, because several delay "
     "first tokens more than they save.",
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
    {"max_step_time",
     &Config::max_step_time,
     "What a step may take while somebody reads: prompts and pictures are cut to fit it, so that "
     "no reader waits longer for the next token. auto: 250ms on CPUs, 50ms on a GPU.",
     Unit::kMilliseconds,
     {1, 600'000}},
};

}  // namespace

std::span<const Option> EngineOptions() { return kEngineOptions; }

}  // namespace llava::server
