// Which replica gets the next question.
#ifndef LLAVA_TESTS_BENCH_FLEET_ROUTER_H_
#define LLAVA_TESTS_BENCH_FLEET_ROUTER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/rng.h"

namespace llava::fleet {

enum class Policy {
  kRoundRobin,
  kLeastOutstanding,  // HAProxy's leastconn, Envoy's LEAST_REQUEST over all hosts
  kPowerOfTwo,        // Envoy's LEAST_REQUEST as it is by default: the better of two random ones
  kQueueAndCache,     // the endpoint picker's scores of scraped metrics: waiting requests, KV use
  kByConversation,    // consistent hashing with bounded loads, by the conversation
  kByPicture,         // the same by the picture
};

inline constexpr Policy kPolicies[] = {Policy::kRoundRobin,     Policy::kLeastOutstanding,
                                       Policy::kPowerOfTwo,     Policy::kQueueAndCache,
                                       Policy::kByConversation, Policy::kByPicture};

std::string PolicyName(Policy policy);

// What a balancer knows of a replica that is alive.
struct ReplicaView {
  std::size_t index = 0;        // in the fleet
  std::size_t outstanding = 0;  // sent there and not answered, as the balancer counts itself
  double waiting = 0;           // as last scraped
  double kv_usage = 0;          // as last scraped, of 1
};

class Router {
 public:
  Router(Policy policy, std::uint64_t seed) : policy_(policy), rng_(seed) {}

  // An index of the fleet. REQUIRES: `replicas` is not empty.
  std::size_t Choose(std::span<const ReplicaView> replicas, std::uint64_t conversation,
                     std::uint64_t picture);

 private:
  std::size_t ByHash(std::span<const ReplicaView> replicas, std::uint64_t key) const;

  const Policy policy_;
  Rng rng_;
  std::size_t turn_ = 0;
};

}  // namespace llava::fleet

#endif  // LLAVA_TESTS_BENCH_FLEET_ROUTER_H_
