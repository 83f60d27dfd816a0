// Which of several engines (one a device) takes a request: the one that has seen its image or the
// beginning of its prompt before, because its caches are there, unless another has much less to do.
#ifndef LLAVA_SERVER_ENGINE_ENGINE_ROUTER_H_
#define LLAVA_SERVER_ENGINE_ENGINE_ROUTER_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/scheduling/request.h"

namespace llava::engine {

// Thread-safe. Remembers a bounded number of beginnings, the least recently used goes first.
class EngineRouter {
 public:
  // REQUIRES: capacity > 0.
  explicit EngineRouter(std::size_t capacity = 4096);

  // The index of the engine. `loads`: Engine::load() of each, at least one.
  std::size_t Pick(const scheduling::Request& request, const std::vector<std::int64_t>& loads);

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
