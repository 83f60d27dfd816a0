#include "tests/bench/fleet/router.h"

#include <algorithm>
#include <cmath>

namespace llava::fleet {
namespace {

// Of the mean number of outstanding requests; who has more passes on what hashes to him.
constexpr double kBound = 1.25;

std::uint64_t Mix(std::uint64_t a, std::uint64_t b) {
  return Rng(a * 0x9E3779B97F4A7C15u + b).Next();
}

double QueueAndCacheScore(const ReplicaView& replica, double most_waiting) {
  const double queue = most_waiting == 0 ? 1 : 1 - replica.waiting / most_waiting;
  return queue + (1 - replica.kv_usage);
}

}  // namespace

std::string PolicyName(Policy policy) {
  switch (policy) {
    case Policy::kRoundRobin:
      return "round robin";
    case Policy::kLeastOutstanding:
      return "least outstanding";
    case Policy::kPowerOfTwo:
      return "power of two";
    case Policy::kQueueAndCache:
      return "queue and KV scores";
    case Policy::kByConversation:
      return "by conversation";
    case Policy::kByPicture:
      return "by picture";
  }
  return "";
}

// Rendezvous hashing: the highest of all replicas' hashes with the key, of those within the bound.
std::size_t Router::ByHash(std::span<const ReplicaView> replicas, std::uint64_t key) const {
  double outstanding = 1;
  for (const ReplicaView& replica : replicas) {
    outstanding += static_cast<double>(replica.outstanding);
  }
  const double most = std::ceil(kBound * outstanding / static_cast<double>(replicas.size()));
  const ReplicaView* best = nullptr;
  std::uint64_t best_hash = 0;
  for (const ReplicaView& replica : replicas) {
    const std::uint64_t hash = Mix(key, replica.index);
    if (static_cast<double>(replica.outstanding) >= most) continue;
    if (best == nullptr || hash > best_hash) {
      best = &replica;
      best_hash = hash;
    }
  }
  return best == nullptr ? replicas.front().index : best->index;
}

std::size_t Router::Choose(std::span<const ReplicaView> replicas, std::uint64_t conversation,
                           std::uint64_t picture) {
  const auto fewer = [](const ReplicaView& a, const ReplicaView& b) {
    return a.outstanding < b.outstanding;
  };
  switch (policy_) {
    case Policy::kRoundRobin:
      return replicas[turn_++ % replicas.size()].index;
    case Policy::kLeastOutstanding: {
      // Ties in turn, as balancers do.
      const std::size_t first = turn_++ % replicas.size();
      const ReplicaView* best = &replicas[first];
      for (std::size_t i = 1; i < replicas.size(); ++i) {
        const ReplicaView& other = replicas[(first + i) % replicas.size()];
        if (fewer(other, *best)) best = &other;
      }
      return best->index;
    }
    case Policy::kPowerOfTwo: {
      const ReplicaView& a = replicas[rng_.Below(replicas.size())];
      const ReplicaView& b = replicas[rng_.Below(replicas.size())];
      return fewer(b, a) ? b.index : a.index;
    }
    case Policy::kQueueAndCache: {
      double most = 0;
      for (const ReplicaView& replica : replicas) most = std::max(most, replica.waiting);
      // The picker draws among the best; all equal ones are.
      const std::size_t first = rng_.Below(replicas.size());
      const ReplicaView* best = &replicas[first];
      for (std::size_t i = 1; i < replicas.size(); ++i) {
        const ReplicaView& other = replicas[(first + i) % replicas.size()];
        if (QueueAndCacheScore(other, most) > QueueAndCacheScore(*best, most)) best = &other;
      }
      return best->index;
    }
    case Policy::kByConversation:
      return ByHash(replicas, Mix(1, conversation));
    case Policy::kByPicture:
      return ByHash(replicas, Mix(2, picture));
  }
  return replicas.front().index;
}

}  // namespace llava::fleet
