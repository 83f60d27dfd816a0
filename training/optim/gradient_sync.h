// Adds up the ranks' gradients while the backward pass still runs: in buckets of some megabytes,
// each sent as soon as its last gradient is there (Li et al., PyTorch Distributed, arXiv
// 2006.15704). Sharded (ZeRO stage 2, Rajbhandari et al., arXiv 1910.02054) every parameter belongs
// to one rank, which alone keeps its gradient and its optimizer state, and sends the updated weight
// to the others.
//
// A gradient is freed when its bucket is sent, and the sum of a bucket that belongs to another rank
// when it has arrived there: of a backward pass there are the sums that this rank owns, and a few
// buckets on their way. Micro batches add up in fp32, whatever the dtype of the parameters.
#ifndef LLAVA_TRAINING_OPTIM_GRADIENT_SYNC_H_
#define LLAVA_TRAINING_OPTIM_GRADIENT_SYNC_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tensors/named_tensor.h"
#include "training/distributed/ranks.h"
#include "training/optim/gradient_buckets.h"

namespace llava::training {

// Used by the training thread; its hooks run on the thread of the backward pass. On one rank it
// only adds up micro batches.
class GradientSync {
 public:
  // The parameters require gradients; every rank has the same. `ranks` outlives this.
  GradientSync(Ranks& ranks, std::vector<model::NamedTensor> parameters, bool sharded,
               std::int64_t bucket_elements = kBucketElements);
  ~GradientSync();
  GradientSync(const GradientSync&) = delete;
  GradientSync& operator=(const GradientSync&) = delete;

  bool sharded() const { return sharded_; }

  // The rank whose the parameter is; -1: every rank's, or no parameter of these.
  int OwnerOf(const std::string& name) const;

  // Those whose gradients and optimizer state this rank has.
  std::vector<model::NamedTensor> Owned() const;

  // Around the forward and backward pass of each micro batch; `last` of a step. After the last one
  // the parameters' gradients (of the owned ones) are sums over all ranks, in fp32 (alone and after
  // a single pass in the parameter's dtype), and undefined where no rank had one. A rank without a
  // backward pass takes part all the same.
  void BeginPass(bool last);
  absl::Status EndPass();

  // The L2 norm of all summed gradients.
  absl::StatusOr<double> Norm() const;

  // After an update of the owned parameters: everybody gets them, but for those that `is_fetched`
  // says are fetched from their owner when they are read.
  absl::Status ShareWeights(const std::function<bool(const std::string&)>& is_fetched);

 private:
  struct Bucket : GradientBucket {
    std::size_t missing = 0;  // gradients of this pass
    at::Tensor sums;          // fp32
    Ranks::Pending pending;
  };
  // Weights of one owner and dtype.
  struct WeightMessage {
    int owner = -1;
    std::vector<std::size_t> members = {};
    std::int64_t elements = 0;
    at::Tensor weights = {};
    Ranks::Pending pending = {};
  };
  class Hook;

  void MakeBuckets(std::int64_t bucket_elements);
  void Ready(std::size_t parameter);
  void Launch(Bucket& bucket);
  void Settle(Bucket& bucket);
  void Take(Bucket& bucket, const at::Tensor& used);
  void KeepGradients();
  void CopyWeights(const WeightMessage& message, bool out) const;
  bool IsOwned(std::size_t parameter) const;

  Ranks& ranks_;
  const std::vector<model::NamedTensor> parameters_;
  const bool sharded_;
  std::vector<int> owners_;  // of each parameter
  // Sums of earlier passes of this step, fp32: sharded over ranks, else of this one.
  std::vector<at::Tensor> kept_;
  std::vector<Bucket> buckets_;  // in the order in which they are sent
  std::vector<std::size_t> bucket_of_;
  std::vector<float> used_;   // 1: this rank has a gradient of the parameter in this pass
  std::size_t launched_ = 0;  // buckets of this pass
  std::size_t settled_ = 0;   // of these, arrived
  absl::Status status_;       // of those that have settled
  bool armed_ = false;        // this pass is sent
  bool last_ = false;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_GRADIENT_SYNC_H_
