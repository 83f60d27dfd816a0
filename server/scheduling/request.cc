#include "server/scheduling/request.h"

#include <algorithm>

namespace llava::scheduling {
namespace {

std::uint64_t Mix(std::uint64_t z) {  // the finalizer of SplitMix64
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

Digest AdapterDigest(const Request& request) {
  return request.adapter == nullptr ? Digest() : request.adapter->digest();
}

bool IsEndToken(const Request& request, std::int32_t token, int index) {
  const SamplingParams& sampling = request.sampling;
  if (index + 1 < sampling.min_tokens) return false;
  const auto contains = [token](const std::vector<std::int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
  return (!sampling.ignore_eos && contains(request.end_token_ids)) ||
         contains(sampling.stop_token_ids);
}

std::uint64_t ChoiceSeed(const Request& request, int choice) {
  const std::uint64_t base = request.sampling.seed.value_or(Mix(request.id.value()));
  return Mix(base + 0x9E3779B97F4A7C15u * (static_cast<std::uint64_t>(choice) + 1));
}

std::int64_t MostTokens(const Request& request) {
  return std::ssize(request.prompt_ids) + std::int64_t{request.n} * request.sampling.max_tokens;
}

}  // namespace llava::scheduling
