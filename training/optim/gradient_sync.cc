#include "training/optim/gradient_sync.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cmath>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "training/optim/gradients.h"

namespace llava::training {
namespace {

std::vector<std::int64_t> ElementsOf(const std::vector<model::NamedTensor>& parameters) {
  std::vector<std::int64_t> elements;
  for (const model::NamedTensor& parameter : parameters) {
    elements.push_back(parameter.tensor.numel());
  }
  return elements;
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

GradientSync::GradientSync(Ranks& ranks, std::vector<model::NamedTensor> parameters, bool sharded,
                           std::int64_t bucket_elements)
    : ranks_(ranks),
      parameters_(std::move(parameters)),
      sharded_(sharded && ranks.size() > 1),
      owners_(DealOwners(ElementsOf(parameters_), ranks.size())),
      kept_(parameters_.size()) {
  if (ranks.size() == 1) return;
  MakeBuckets(bucket_elements);
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

void GradientSync::MakeBuckets(std::int64_t bucket_elements) {
  std::vector<std::string> names;
  for (const model::NamedTensor& parameter : parameters_) names.push_back(parameter.name);
  bucket_of_.resize(parameters_.size());
  for (GradientBucket& plan :
       PlanBuckets(names, ElementsOf(parameters_), sharded_ ? owners_ : std::vector<int>(),
                   ranks_.size(), bucket_elements)) {
    for (const std::size_t member : plan.members) bucket_of_[member] = buckets_.size();
    static_cast<GradientBucket&>(buckets_.emplace_back()) = std::move(plan);
  }
}

bool GradientSync::IsOwned(std::size_t parameter) const {
  return !sharded_ || owners_[parameter] == ranks_.rank();
}

int GradientSync::OwnerOf(const std::string& name) const {
  if (!sharded_) return -1;
  const auto named = [&](const model::NamedTensor& parameter) { return parameter.name == name; };
  const auto found = std::find_if(parameters_.begin(), parameters_.end(), named);
  return found == parameters_.end()
             ? -1
             : owners_[static_cast<std::size_t>(found - parameters_.begin())];
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
  settled_ = 0;
  status_ = absl::OkStatus();
  used_.assign(parameters_.size(), 0.0F);
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
    at::Tensor place = bucket.sums.narrow(0, start, parameter.numel());
    start += parameter.numel();
    if (parameter.grad().defined()) {
      place.copy_(parameter.grad().flatten());
      parameter.mutable_grad() = at::Tensor();
      used_[member] = 1.0F;
    } else {
      place.zero_();
    }
    if (sharded_ || !kept_[member].defined()) continue;
    place.add_(kept_[member].flatten());
    kept_[member] = at::Tensor();
    used_[member] = 1.0F;
  }
  bucket.pending =
      bucket.owner < 0 ? ranks_.Sum(bucket.sums) : ranks_.SumTo(bucket.sums, bucket.owner);
  if (launched_ - settled_ > kBucketsOnTheirWay) Settle(buckets_[settled_]);
}

// Waits for the sum of the oldest bucket on its way.
void GradientSync::Settle(Bucket& bucket) {
  ++settled_;
  status_.Update(bucket.pending());
  bucket.pending = nullptr;
  if (bucket.owner >= 0 && bucket.owner != ranks_.rank()) bucket.sums = at::Tensor();
}

absl::Status GradientSync::EndPass() {
  const at::NoGradGuard no_grad;
  if (!armed_) {
    KeepGradients();
    return absl::OkStatus();
  }
  armed_ = false;
  while (launched_ < buckets_.size()) Launch(buckets_[launched_]);
  while (settled_ < buckets_.size()) Settle(buckets_[settled_]);
  RETURN_IF_ERROR(status_);
  const at::Tensor used = at::tensor(used_).to(parameters_.front().tensor.device());
  RETURN_IF_ERROR(ranks_.Sum(used)());
  const at::Tensor used_anywhere = used.cpu();
  for (Bucket& bucket : buckets_) Take(bucket, used_anywhere);
  return absl::OkStatus();
}

// A pass that nobody is told of: what is below fp32 adds up here, the rest in the gradients.
void GradientSync::KeepGradients() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& parameter = parameters_[i].tensor;
    at::Tensor& kept = kept_[i];
    const bool is_coarse = parameter.scalar_type() != at::kFloat;
    if (is_coarse && parameter.grad().defined() && (kept.defined() || !last_)) {
      kept = kept.defined() ? kept.add_(parameter.grad()) : parameter.grad().to(at::kFloat);
      parameter.mutable_grad() = at::Tensor();
    }
    if (last_ && kept.defined()) parameter.mutable_grad() = std::exchange(kept, {});
  }
}

void GradientSync::Take(Bucket& bucket, const at::Tensor& used) {
  if (!bucket.sums.defined()) return;  // another rank's
  const float* const ranks_with = used.const_data_ptr<float>();
  std::int64_t start = 0;
  for (const std::size_t member : bucket.members) {
    const at::Tensor& parameter = parameters_[member].tensor;
    at::Tensor sum = bucket.sums.narrow(0, start, parameter.numel()).view(parameter.sizes());
    start += parameter.numel();
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
}

absl::StatusOr<double> GradientSync::Norm() const {
  const double norm = GradientNorm(parameters_);
  if (!sharded_) return norm;
  const at::Device device = parameters_.front().tensor.device();
  const at::Tensor sum = at::full({1}, norm * norm, at::TensorOptions(at::kDouble).device(device));
  RETURN_IF_ERROR(ranks_.Sum(sum)());
  return std::sqrt(sum.item<double>());
}

// Members of one bucket and dtype lie one after the other in the message.
absl::Status GradientSync::ShareWeights(const std::function<bool(const std::string&)>& is_fetched) {
  if (!sharded_) return absl::OkStatus();
  const at::NoGradGuard no_grad;
  std::deque<WeightMessage> sent;
  const auto receive = [&]() -> absl::Status {
    const WeightMessage message = std::move(sent.front());
    sent.pop_front();
    RETURN_IF_ERROR(message.pending());
    if (message.owner != ranks_.rank()) CopyWeights(message, /*out=*/false);
    return absl::OkStatus();
  };
  for (const Bucket& bucket : buckets_) {
    std::map<at::ScalarType, WeightMessage> of_dtype;
    for (const std::size_t member : bucket.members) {
      if (is_fetched(parameters_[member].name)) continue;
      WeightMessage& message = of_dtype[parameters_[member].tensor.scalar_type()];
      message.members.push_back(member);
      message.elements += parameters_[member].tensor.numel();
    }
    for (auto& [dtype, message] : of_dtype) {
      message.owner = bucket.owner;
      const at::Tensor& first = parameters_[message.members.front()].tensor;
      message.weights = at::empty({message.elements}, first.options().requires_grad(false));
      if (message.owner == ranks_.rank()) CopyWeights(message, /*out=*/true);
      message.pending = ranks_.Broadcast(message.weights, message.owner);
      sent.push_back(std::move(message));
      if (sent.size() > kBucketsOnTheirWay) RETURN_IF_ERROR(receive());
    }
  }
  while (!sent.empty()) RETURN_IF_ERROR(receive());
  return absl::OkStatus();
}

// Out of the parameters into the message, or back.
void GradientSync::CopyWeights(const WeightMessage& message, bool out) const {
  std::int64_t start = 0;
  for (const std::size_t member : message.members) {
    const at::Tensor& weight = parameters_[member].tensor;
    const at::Tensor place = message.weights.narrow(0, start, weight.numel()).view(weight.sizes());
    start += weight.numel();
    (out ? place : weight).copy_(out ? weight : place);
  }
}

}  // namespace llava::training
