// The processes of a run and what they tell each other, over LibTorch's c10d: Gloo on CPUs, NCCL on
// GPUs. A run in one process is one rank that talks to nobody.
#ifndef LLAVA_TRAINING_DISTRIBUTED_RANKS_H_
#define LLAVA_TRAINING_DISTRIBUTED_RANKS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "training/distributed/rank_place.h"

namespace llava::training {

struct RanksOptions {
  at::Device device = at::kCPU;
  Duration lost_after = std::chrono::seconds(60);   // without a sign of life
  Duration join_within = std::chrono::minutes(10);  // for the slowest to start
};

// Used by the training thread, and by the autograd engine's thread while that waits for it. Every
// rank must make the same calls in the same order. A call fails with UNAVAILABLE that names the
// rank that is gone, within about twice `lost_after`.
class Ranks {
 public:
  // Waits for a call to end; once.
  using Pending = std::function<absl::Status()>;

  Ranks();  // alone

  // Meets the others. DEADLINE_EXCEEDED names the ranks that did not come; UNAVAILABLE: the address
  // cannot be reached or bound. The clock outlives this.
  static absl::StatusOr<std::unique_ptr<Ranks>> Join(const RankPlace& place,
                                                     const RanksOptions& options,
                                                     const Clock& clock);
  ~Ranks();

  int rank() const { return place_.rank; }
  int size() const { return place_.size; }
  bool is_first() const { return place_.rank == 0; }

  // Begins to add up `tensor` (contiguous) over all ranks, in place; with `root` only there, and
  // elsewhere the tensor's contents are lost.
  Pending Sum(const at::Tensor& tensor);
  Pending SumTo(const at::Tensor& tensor, int root);

  // Begins to copy root's contents into everybody's.
  Pending Broadcast(const at::Tensor& tensor, int root);

  // The same, in an order of its own: calls to BroadcastApart have the same order on every rank,
  // but not among the other calls.
  Pending BroadcastApart(const at::Tensor& tensor, int root);

  // Waits until every rank is here.
  absl::Status Barrier();

  // The last call: tells the others how it went here.
  void Leave(const absl::Status& status);

 private:
  struct Group;
  Ranks(const RankPlace& place, std::unique_ptr<Group> group);

  const RankPlace place_;
  const std::unique_ptr<Group> group_;  // null when alone
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DISTRIBUTED_RANKS_H_
