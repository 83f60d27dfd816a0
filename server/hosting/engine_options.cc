#include "server/hosting/engine_options.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/attention_limits.h"
#include "base/status_macros.h"
#include "server/scheduling/limits.h"

namespace llava::server {
namespace {

std::int64_t BlocksFor(std::int64_t tokens) {
  return (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
}

// The device's name without numbers.
std::string KindOf(std::string device) {
  std::erase_if(device, [](char c) { return c == ':' || absl::ascii_isdigit(c); });
  return device;
}

}  // namespace

absl::StatusOr<engine::EngineOptions> ToEngineOptions(const Config& config,
                                                      const std::string& device,
                                                      const EngineDefaults& chosen,
                                                      const BackendModel& model,
                                                      const model::LlavaConfig& llava) {
  const std::int64_t blocks =
      std::min<std::int64_t>(chosen.kv_cache_bytes / model.block_bytes, scheduling::kMaxBlocks);
  const std::int64_t context = ContextTokens(config, llava);
  const std::int64_t needed = BlocksFor(context);
  if (blocks < needed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "kv_cache_bytes: ", chosen.kv_cache_bytes, " on ", device, " (", chosen.kv_cache_why,
        ") hold ", blocks * kKvBlockTokens,
        " tokens of this model, expected at least one "
        "conversation of max_context_tokens, ",
        context, ": ", needed * model.block_bytes, " bytes, or fewer max_context_tokens"));
  }
  engine::EngineOptions options;
  options.name = device;
  options.kind = KindOf(device);
  options.stream_tokens = static_cast<int>(config.stream_tokens);
  options.inbox_capacity = static_cast<int>(config.queue_requests);
  scheduling::SchedulerOptions& scheduler = options.scheduler;
  scheduler.num_blocks = static_cast<int>(blocks);
  scheduler.max_batch_tokens = static_cast<int>(chosen.max_batch_tokens);
  scheduler.max_running = static_cast<int>(chosen.max_running);
  scheduler.max_images_per_step = static_cast<int>(chosen.max_images_per_step);
  scheduler.max_context_tokens = static_cast<int>(context);
  scheduler.feature_cache_bytes = config.image_cache_bytes;
  scheduler.feature_bytes_per_token = model.feature_bytes_per_token;
  scheduler.max_step_time = StepTime(config, device);
  scheduler.encoder_parts = model.encoder_parts;
  scheduler.prefix_cache = config.prefix_cache;
  // A GPU's kernels may round a row otherwise when more rows are beside it, and so may a sum of
  // more than two numbers, whose order depends on how many are added up.
  if (IsCpu(device) && RanksOf(device).size() <= 2) {
    scheduler.draft_tokens = static_cast<int>(config.draft_tokens);
  }
  RETURN_IF_ERROR(scheduling::Validate(scheduler));
  return options;
}

std::string KvCacheWarning(const engine::EngineOptions& options) {
  const scheduling::SchedulerOptions& scheduler = options.scheduler;
  if (scheduler.num_blocks >= 2 * BlocksFor(scheduler.max_context_tokens)) return "";
  return absl::StrCat("the KV cache of ", options.name, " holds ",
                      std::int64_t{scheduler.num_blocks} * kKvBlockTokens,
                      " tokens, which is less than two conversations of max_context_tokens, ",
                      scheduler.max_context_tokens, ": long ones wait for each other");
}

}  // namespace llava::server
