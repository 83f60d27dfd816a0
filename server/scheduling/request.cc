#include "server/scheduling/request.h"

#include <algorithm>

namespace llava::scheduling {

bool IsEndToken(const Request& request, std::int32_t token, int index) {
  const SamplingParams& sampling = request.sampling;
  if (index + 1 < sampling.min_tokens) return false;
  const auto contains = [token](const std::vector<std::int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
  return (!sampling.ignore_eos && contains(request.end_token_ids)) ||
         contains(sampling.stop_token_ids);
}

}  // namespace llava::scheduling
