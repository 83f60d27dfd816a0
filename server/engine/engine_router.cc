#include "server/engine/engine_router.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "base/digest.h"
#include "server/scheduling/limits.h"

namespace llava::engine {
namespace {

// The engine that would be done first is preferred to the remembered one when that one would take
// more than twice as long, and one long request (a full default context) on top: below that the
// remembered caches save more than the wait costs.
constexpr double kSlackTokens = 4096;
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

// Of the engines of this kind; of all when it is none.
double Fastest(std::span<const EngineLoad> loads, std::optional<std::string_view> kind) {
  double speed = 0;
  for (const EngineLoad& load : loads) {
    if (!kind.has_value() || load.kind == *kind) speed = std::max(speed, load.speed);
  }
  return speed;
}

// Of each engine, above 0.
std::vector<double> Speeds(std::span<const EngineLoad> loads) {
  const double any = Fastest(loads, std::nullopt);
  std::vector<double> speeds;
  for (const EngineLoad& load : loads) {
    const double own = Fastest(loads, load.kind);
    speeds.push_back(own > 0 ? own : any > 0 ? any : 1.0);
  }
  return speeds;
}

}  // namespace

EngineRouter::EngineRouter(std::size_t capacity) : capacity_(capacity) {
  LLAVA_CHECK_GT(capacity, 0u);
}

std::size_t EngineRouter::Pick(const scheduling::Request& request,
                               std::span<Engine* const> engines) {
  std::vector<EngineLoad> loads;
  loads.reserve(engines.size());
  for (const Engine* engine : engines) {
    loads.push_back({engine->load(), engine->speed(), engine->kind()});
  }
  return Pick(request, loads);
}

std::size_t EngineRouter::Pick(const scheduling::Request& request,
                               std::span<const EngineLoad> loads) {
  LLAVA_CHECK(!loads.empty());
  const std::vector<double> speeds = Speeds(loads);
  std::vector<double> done;  // seconds until this request would be
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const std::int64_t tokens = loads[i].tokens + scheduling::MostTokens(request);
    done.push_back(static_cast<double>(tokens) / speeds[i]);
  }
  const auto first =
      static_cast<std::size_t>(std::min_element(done.begin(), done.end()) - done.begin());
  const std::uint64_t key = KeyOf(request);
  MutexLock lock(&mutex_);
  std::size_t engine = first;
  const auto found = places_.find(key);
  if (found != places_.end() && found->second.engine < loads.size() &&
      done[found->second.engine] <= 2 * done[first] + kSlackTokens / speeds[first]) {
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
