// Which of several engines (one a device) takes a request: the one that has seen its image or the
// beginning of its prompt before, because its caches are there, unless another would be done much
// earlier. Engines of different devices have measured how fast they are; those of one kind of
// device are taken to be as fast as the fastest of them, since what they have just done says more
// of their work than of them. Where nothing is measured yet, an engine is taken to be as fast as
// any.
#ifndef LLAVA_SERVER_ENGINE_ENGINE_ROUTER_H_
#define LLAVA_SERVER_ENGINE_ENGINE_ROUTER_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/engine/engine.h"
#include "server/scheduling/request.h"

namespace llava::engine {

struct EngineLoad {
  std::int64_t tokens = 0;  // that wait (Engine::load)
  double speed = 0;         // tokens a second (Engine::speed); 0: not measured
  std::string_view kind = {};
};

// Thread-safe. Remembers a bounded number of beginnings, the least recently used goes first.
class EngineRouter {
 public:
  // REQUIRES: capacity > 0.
  explicit EngineRouter(std::size_t capacity = 4096);

  // The index of the engine; of at least one.
  std::size_t Pick(const scheduling::Request& request, std::span<Engine* const> engines);
  std::size_t Pick(const scheduling::Request& request, std::span<const EngineLoad> loads);

 private:
  using Order = std::list<std::uint64_t>;
  struct Place {
    std::size_t engine;
    Order::iterator order;
  };

  void Remember(std::uint64_t key, std::size_t engine) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::size_t capacity_;
  Mutex mutex_;
  std::unordered_map<std::uint64_t, Place> places_ ABSL_GUARDED_BY(mutex_);
  Order order_ ABSL_GUARDED_BY(mutex_);  // the least recently used first
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_ENGINE_ENGINE_ROUTER_H_
