#include "server/engine/engine_router.h"

#include <algorithm>

#include "base/check.h"
#include "base/digest.h"
#include "server/scheduling/limits.h"

namespace llava::engine {
namespace {

// The idlest engine is preferred to the remembered one when that one has more than twice its work,
// and more than one long request (a full default context) on top: below that the remembered caches
// save more than the wait costs.
constexpr std::int64_t kSlackTokens = 4096;
// So many tokens at the beginning tell prompts without an image apart. They go beyond the words
// that a chat template puts in front of every prompt (some 40 tokens).
constexpr std::size_t kBeginning = 4 * kKvBlockTokens;

// What a request is remembered by. A collision costs a cache hit, nothing else.
std::uint64_t KeyOf(const scheduling::Request& request) {
  std::uint64_t key = std::hash<Digest>()(request.version);
  const auto add = [&key](std::uint64_t value) {
    key = (key ^ value) * 0x9E3779B97F4A7C15u;
    key ^= key >> 29;
  };
  add(std::hash<Digest>()(request.cache_domain));
  add(std::hash<Digest>()(scheduling::AdapterDigest(request)));
  if (!request.images.empty()) {
    add(std::hash<Digest>()(request.images.front().digest));
    return key;
  }
  const std::size_t count = std::min(kBeginning, request.prompt_ids.size());
  for (std::size_t i = 0; i < count; ++i) add(static_cast<std::uint64_t>(request.prompt_ids[i]));
  return key;
}

}  // namespace

EngineRouter::EngineRouter(std::size_t capacity) : capacity_(capacity) {
  LLAVA_CHECK_GT(capacity, 0u);
}

std::size_t EngineRouter::Pick(const scheduling::Request& request,
                               const std::vector<std::int64_t>& loads) {
  LLAVA_CHECK(!loads.empty());
  const auto idlest =
      static_cast<std::size_t>(std::min_element(loads.begin(), loads.end()) - loads.begin());
  const std::uint64_t key = KeyOf(request);
  MutexLock lock(&mutex_);
  std::size_t engine = idlest;
  const auto found = places_.find(key);
  if (found != places_.end() && found->second.engine < loads.size() &&
      loads[found->second.engine] <= 2 * loads[idlest] + kSlackTokens) {
    engine = found->second.engine;
  }
  Remember(key, engine);
  return engine;
}

void EngineRouter::Remember(std::uint64_t key, std::size_t engine) {
  const auto found = places_.find(key);
  if (found != places_.end()) {
    found->second.engine = engine;
    order_.splice(order_.end(), order_, found->second.order);
    return;
  }
  if (places_.size() >= capacity_) {
    places_.erase(order_.front());
    order_.pop_front();
  }
  places_.emplace(key, Place{engine, order_.insert(order_.end(), key)});
}

}  // namespace llava::engine
