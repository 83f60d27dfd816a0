// Which process of a distributed run this is, as torchrun and Kubernetes' Indexed Jobs say it.
#ifndef LLAVA_TRAINING_DISTRIBUTED_RANK_PLACE_H_
#define LLAVA_TRAINING_DISTRIBUTED_RANK_PLACE_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace llava::training {

struct RankPlace {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // on its machine: the number of its GPU
  std::string address = {};
  std::uint16_t port = 0;
  // torchrun listens at that port itself, and its store outlives an attempt that failed: this
  // attempt's keys begin so. Empty: rank 0 is to listen.
  std::string agent_prefix = {};
};

// RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT through `get` (getenv), and torchrun's
// TORCHELASTIC_USE_AGENT_STORE and TORCHELASTIC_RESTART_COUNT. A run of its own without WORLD_SIZE.
// INVALID_ARGUMENT names the variable, its value and what was expected.
absl::StatusOr<RankPlace> ReadRankPlace(const std::function<const char*(const char*)>& get);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DISTRIBUTED_RANK_PLACE_H_
