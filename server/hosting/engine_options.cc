#include "server/hosting/engine_options.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/scheduling/limits.h"

namespace llava::server {

absl::StatusOr<engine::EngineOptions> ToEngineOptions(const Config& config,
                                                      const std::string& device,
                                                      const BackendModel& model,
                                                      const model::LlavaConfig& llava) {
  const std::int64_t blocks =
      std::min<std::int64_t>(config.kv_cache_bytes / model.block_bytes, scheduling::kMaxBlocks);
  if (blocks < 1) {
    return absl::InvalidArgumentError(absl::StrCat("kv_cache_bytes: ", config.kv_cache_bytes,
                                                   " is less than one block of this model, ",
                                                   model.block_bytes, " bytes"));
  }
  engine::EngineOptions options;
  options.name = device;
  options.stream_tokens = static_cast<int>(config.stream_tokens);
  options.inbox_capacity = static_cast<int>(config.queue_requests);
  scheduling::SchedulerOptions& scheduler = options.scheduler;
  scheduler.num_blocks = static_cast<int>(blocks);
  scheduler.max_batch_tokens = static_cast<int>(config.max_batch_tokens);
  scheduler.max_running = static_cast<int>(config.max_running);
  scheduler.max_images_per_step = static_cast<int>(config.max_images_per_step);
  scheduler.max_context_tokens =
      std::min(static_cast<int>(config.max_context_tokens), llava.text.max_positions);
  scheduler.feature_cache_bytes = config.image_cache_bytes;
  scheduler.feature_bytes_per_token = model.feature_bytes_per_token;
  scheduler.prefix_cache = config.prefix_cache;
  RETURN_IF_ERROR(scheduling::Validate(scheduler));
  return options;
}

}  // namespace llava::server
