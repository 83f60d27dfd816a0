#include "server/scheduling/limits.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::scheduling {
namespace {

constexpr std::int64_t kAnyInt64 = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMaxWait = Duration(std::chrono::hours(24)).count();

absl::Status CheckRange(const char* field, std::int64_t value, std::int64_t low,
                        std::int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", expected ", low, " to ", high));
}

absl::Status CheckBounds(const std::string& name, const AdmissionBounds& bounds) {
  RETURN_IF_ERROR(CheckRange((name + ".requests").c_str(), bounds.requests, 1, kMaxRequests));
  RETURN_IF_ERROR(CheckRange((name + ".tokens").c_str(), bounds.tokens, 1, kAnyInt64 / 2));
  RETURN_IF_ERROR(CheckRange((name + ".bytes").c_str(), bounds.bytes, 1, kAnyInt64 / 2));
  return CheckRange((name + ".pixels").c_str(), bounds.pixels, 1, kAnyInt64 / 2);
}

}  // namespace

absl::Status Validate(const SchedulerOptions& options) {
  RETURN_IF_ERROR(CheckRange("num_blocks", options.num_blocks, 1, kMaxBlocks));
  RETURN_IF_ERROR(CheckRange("max_batch_tokens", options.max_batch_tokens, 1, kMaxBatchTokens));
  RETURN_IF_ERROR(CheckRange("max_running", options.max_running, 1,
                             std::min(kMaxRunning, options.max_batch_tokens)));
  RETURN_IF_ERROR(
      CheckRange("max_images_per_step", options.max_images_per_step, 1, kMaxImagesPerStep));
  RETURN_IF_ERROR(
      CheckRange("max_context_tokens", options.max_context_tokens, 2, kMaxContextTokens));
  RETURN_IF_ERROR(CheckRange("max_step_time", options.max_step_time.count(), 0, kMaxWait));
  RETURN_IF_ERROR(CheckRange("encoder_parts", options.encoder_parts, 1, kMaxEncoderParts));
  RETURN_IF_ERROR(CheckRange("draft_tokens", options.draft_tokens, 0, kMaxDraftTokens));
  RETURN_IF_ERROR(CheckRange("feature_cache_bytes", options.feature_cache_bytes, 0, kAnyInt64));
  RETURN_IF_ERROR(CheckRange("feature_bytes_per_token", options.feature_bytes_per_token, 0,
                             std::int64_t{1} << 32));
  RETURN_IF_ERROR(CheckRange("aging", options.aging.count(), 1, kMaxWait));
  RETURN_IF_ERROR(CheckRange("patience", options.patience.count(), 1, kMaxWait));
  RETURN_IF_ERROR(CheckRange("fair_share_slack", options.fair_share_slack, 1, kAnyInt64 / 2));
  RETURN_IF_ERROR(CheckRange("prompt_token_weight", options.prompt_token_weight, 0, 1000));
  RETURN_IF_ERROR(CheckRange("image_token_weight", options.image_token_weight, 0, 1000));
  return CheckRange("output_token_weight", options.output_token_weight, 0, 1000);
}

absl::Status Validate(const AdmissionOptions& options) {
  RETURN_IF_ERROR(CheckBounds("admission.total", options.total));
  return CheckBounds("admission.per_tenant", options.per_tenant);
}

}  // namespace llava::scheduling
