#include "training/optim/gradient_sync.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "base/status_macros.h"
#include "training/optim/gradients.h"

namespace llava::training {
namespace {

constexpr std::int64_t kFirstBucketElements = std::int64_t{1} << 18;  // 1 MiB: sent early
constexpr std::int64_t kBucketElements = std::int64_t{25} << 18;      // 25 MiB of fp32

// The heaviest parameter first, each to the rank that has least.
std::vector<int> DealOwners(const std::vector<model::NamedTensor>& parameters, int ranks) {
  std::vector<std::size_t> order(parameters.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return parameters[a].tensor.numel() > parameters[b].tensor.numel();
  });
  std::vector<std::int64_t> load(static_cast<std::size_t>(ranks), 0);
  std::vector<int> owners(parameters.size());
  for (const std::size_t i : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owners[i] = static_cast<int>(least - load.begin());
    *least += parameters[i].tensor.numel();
  }
  return owners;
}

}  // namespace

class GradientSync::Hook final : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(GradientSync* sync, std::size_t parameter) : sync_(sync), parameter_(parameter) {}
  void operator()(const at::Tensor& /*parameter*/) override { sync_->Ready(parameter_); }

 private:
  GradientSync* const sync_;
  const std::size_t parameter_;
};

GradientSync::GradientSync(Ranks& ranks, std::vector<model::NamedTensor> parameters, bool sharded)
    : ranks_(ranks),
      parameters_(std::move(parameters)),
      sharded_(sharded && ranks.size() > 1),
      owners_(DealOwners(parameters_, ranks.size())),
      kept_(parameters_.size()) {
  if (ranks.size() == 1) return;
  MakeBuckets();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i].tensor,
                                                   std::make_unique<Hook>(this, i));
  }
}

GradientSync::~GradientSync() {
  if (ranks_.size() == 1) return;
  for (const model::NamedTensor& parameter : parameters_) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
  }
}

// From the last parameter on, as the backward pass makes their gradients.
void GradientSync::MakeBuckets() {
  bucket_of_.resize(parameters_.size());
  std::vector<Bucket> open(static_cast<std::size_t>(sharded_ ? ranks_.size() : 1));
  const auto close = [&](Bucket& bucket) {
    for (const std::size_t member : bucket.members) bucket_of_[member] = buckets_.size();
    buckets_.push_back(std::exchange(bucket, {}));
  };
  for (std::size_t i = parameters_.size(); i-- > 0;) {
    Bucket& bucket = open[static_cast<std::size_t>(sharded_ ? owners_[i] : 0)];
    bucket.owner = sharded_ ? owners_[i] : -1;
    bucket.members.push_back(i);
    bucket.elements += parameters_[i].tensor.numel();
    if (bucket.elements >= (buckets_.empty() ? kFirstBucketElements : kBucketElements)) {
      close(bucket);
    }
  }
  for (Bucket& bucket : open) {
    if (!bucket.members.empty()) close(bucket);
  }
}

bool GradientSync::IsOwned(std::size_t parameter) const {
  return !sharded_ || owners_[parameter] == ranks_.rank();
}

std::vector<model::NamedTensor> GradientSync::Owned() const {
  std::vector<model::NamedTensor> owned;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (IsOwned(i)) owned.push_back(parameters_[i]);
  }
  return owned;
}

void GradientSync::BeginPass(bool last) {
  last_ = last;
  armed_ = ranks_.size() > 1 && (last || sharded_);
  launched_ = 0;
  for (Bucket& bucket : buckets_) bucket.missing = bucket.members.size();
}

// All ranks send their buckets in the same order, whatever the order of their gradients.
void GradientSync::Ready(std::size_t parameter) {
  if (!armed_) return;
  --buckets_[bucket_of_[parameter]].missing;
  while (launched_ < buckets_.size() && buckets_[launched_].missing == 0) {
    Launch(buckets_[launched_]);
  }
}

void GradientSync::Launch(Bucket& bucket) {
  const at::NoGradGuard no_grad;
  ++launched_;
  const at::Device device = parameters_[bucket.members.front()].tensor.device();
  bucket.sums = at::empty({bucket.elements}, at::TensorOptions(at::kFloat).device(device));
  std::int64_t start = 0;
  for (const std::size_t member : bucket.members) {
    const at::Tensor& parameter = parameters_[member].tensor;
    const at::Tensor place = bucket.sums.narrow(0, start, parameter.numel());
    start += parameter.numel();
    if (parameter.grad().defined()) {
      place.copy_(parameter.grad().flatten());
    } else {
      place.zero_();
    }
  }
  bucket.pending =
      bucket.owner < 0 ? ranks_.Sum(bucket.sums) : ranks_.SumTo(bucket.sums, bucket.owner);
}

absl::Status GradientSync::EndPass() {
  if (!armed_) return absl::OkStatus();
  const at::NoGradGuard no_grad;
  armed_ = false;
  const at::Tensor used = at::zeros({static_cast<std::int64_t>(parameters_.size())}, at::kFloat);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const bool has = parameters_[i].tensor.grad().defined();
    used.mutable_data_ptr<float>()[i] = has ? 1.0F : 0.0F;
  }
  while (launched_ < buckets_.size()) Launch(buckets_[launched_]);
  for (Bucket& bucket : buckets_) RETURN_IF_ERROR(bucket.pending());
  const at::Tensor used_there = used.to(parameters_.front().tensor.device());
  RETURN_IF_ERROR(ranks_.Sum(used_there)());
  const at::Tensor used_anywhere = used_there.cpu();
  for (Bucket& bucket : buckets_) Take(bucket, used_anywhere);
  return absl::OkStatus();
}

void GradientSync::Take(Bucket& bucket, const at::Tensor& used) {
  const float* const ranks_with = used.const_data_ptr<float>();
  std::int64_t start = 0;
  for (const std::size_t member : bucket.members) {
    const at::Tensor& parameter = parameters_[member].tensor;
    at::Tensor sum = bucket.sums.narrow(0, start, parameter.numel()).view(parameter.sizes());
    start += parameter.numel();
    parameter.mutable_grad() = at::Tensor();
    if (!IsOwned(member)) continue;
    if (ranks_with[member] == 0.0F) sum = at::Tensor();
    if (sharded_) {
      at::Tensor& kept = kept_[member];
      if (!kept.defined()) {
        kept = sum;
      } else if (sum.defined()) {
        kept.add_(sum);
      }
      if (!last_) continue;
      sum = std::exchange(kept, {});
    }
    parameter.mutable_grad() = sum;
  }
  bucket.sums = at::Tensor();
  bucket.pending = nullptr;
}

absl::StatusOr<double> GradientSync::Norm() const {
  const double norm = GradientNorm(parameters_);
  if (!sharded_) return norm;
  const at::Device device = parameters_.front().tensor.device();
  const at::Tensor sum = at::full({1}, norm * norm, at::TensorOptions(at::kDouble).device(device));
  RETURN_IF_ERROR(ranks_.Sum(sum)());
  return std::sqrt(sum.item<double>());
}

absl::Status GradientSync::ShareWeights() {
  if (!sharded_) return absl::OkStatus();
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> weights(parameters_.size());
  std::vector<Ranks::Pending> pending;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    weights[i] = parameters_[i].tensor.detach().contiguous();
    pending.push_back(ranks_.Broadcast(weights[i], owners_[i]));
  }
  for (const Ranks::Pending& end : pending) RETURN_IF_ERROR(end());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].tensor.is_contiguous()) parameters_[i].tensor.detach().copy_(weights[i]);
  }
  return absl::OkStatus();
}

}  // namespace llava::training
