#include "server/scheduling/request_check.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/field_error.h"
#include "base/sampling_params.h"

namespace llava::scheduling {
namespace {

absl::Status CheckImages(const Request& request, const SchedulerOptions& options) {
  if (request.images.size() > kMaxImagesPerRequest) {
    return absl::InvalidArgumentError(absl::StrCat("the request has ", request.images.size(),
                                                   " images, expected at most ",
                                                   kMaxImagesPerRequest));
  }
  int end = 0;
  for (std::size_t i = 0; i < request.images.size(); ++i) {
    const ImageInput& image = request.images[i];
    const auto prompt_size = static_cast<int>(request.prompt_ids.size());
    if (image.count < 1 || image.offset < end || image.offset > prompt_size - image.count) {
      return absl::InvalidArgumentError(absl::StrCat(
          "images[", i, "] covers prompt tokens [", image.offset, ", ", image.offset + image.count,
          "), expected at least one of [", end, ", ", prompt_size, ")"));
    }
    end = image.offset + image.count;
    const std::int64_t bytes = options.feature_bytes_per_token * image.count;
    if (bytes > options.feature_cache_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("images[", i, "] takes ", bytes, " bytes when encoded, expected at most ",
                       options.feature_cache_bytes, " (the image feature cache)"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

int ContextTokens(const SchedulerOptions& options) {
  const std::int64_t in_blocks = std::int64_t{options.num_blocks} * kKvBlockTokens;
  return static_cast<int>(std::min<std::int64_t>(options.max_context_tokens, in_blocks));
}

absl::Status CheckRequest(const Request& request, const SchedulerOptions& options) {
  LLAVA_CHECK_GE(request.n, 1);
  LLAVA_CHECK(Validate(request.sampling).ok());
  const auto prompt = static_cast<std::int64_t>(request.prompt_ids.size());
  const int context = ContextTokens(options);
  if (prompt == 0) return absl::InvalidArgumentError("the prompt has no tokens");
  if (prompt >= context) {
    return absl::InvalidArgumentError(absl::StrCat("the prompt has ", prompt,
                                                   " tokens, expected fewer than ", context,
                                                   " (the context, which also holds the answer)"));
  }
  const int most_choices = std::min(kMaxChoices, options.max_running);
  if (request.n > most_choices) {
    return FieldError("n", absl::StrCat(request.n, " is not in [1, ", most_choices, "]"));
  }
  return CheckImages(request, options);
}

}  // namespace llava::scheduling
