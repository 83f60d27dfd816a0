#include "training/optim/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

namespace llava::training {

bool Decays(const model::NamedTensor& parameter) { return parameter.tensor.dim() >= 2; }

std::vector<ParameterGroup> SplitByDecay(const std::string& name, double rate, double weight_decay,
                                         const std::vector<model::NamedTensor>& parameters) {
  ParameterGroup decayed{name, rate, weight_decay, {}};
  ParameterGroup plain{name + " (no decay)", rate, 0.0, {}};
  for (const model::NamedTensor& parameter : parameters) {
    (Decays(parameter) ? decayed : plain).parameters.push_back(parameter);
  }
  std::vector<ParameterGroup> groups;
  for (ParameterGroup& group : {std::ref(decayed), std::ref(plain)}) {
    if (!group.parameters.empty()) groups.push_back(std::move(group));
  }
  return groups;
}

AdamW::AdamW(std::vector<ParameterGroup> groups, const AdamWOptions& options)
    : options_(options), groups_(std::move(groups)) {
  const at::NoGradGuard no_grad;
  for (const ParameterGroup& group : groups_) {
    std::vector<Slot>& slots = slots_.emplace_back();
    for (const model::NamedTensor& parameter : group.parameters) {
      const at::Tensor& weight = parameter.tensor;
      const at::Tensor master =
          weight.scalar_type() == at::kFloat ? weight.detach() : weight.detach().to(at::kFloat);
      slots.push_back({weight, master, at::zeros_like(master), at::zeros_like(master)});
    }
  }
}

// One parameter at a time: a gradient in bf16 needs its fp32 copy only as long.
void AdamW::Update(const ParameterGroup& group, Slot& slot, double rate,
                   double gradient_scale) const {
  const at::Tensor steps = at::full({}, static_cast<double>(steps_), slot.master.options());
  const at::Tensor divisor = at::full({}, 1.0 / gradient_scale, slot.master.options());
  const at::Tensor gradient = slot.parameter.grad().to(at::kFloat).contiguous();
  at::_fused_adamw_({slot.master}, {gradient}, {slot.m}, {slot.v}, /*max_exp_avg_sqs=*/{}, {steps},
                    rate, options_.beta1, options_.beta2, group.weight_decay, options_.eps,
                    /*amsgrad=*/false, /*maximize=*/false, divisor);
  if (slot.parameter.scalar_type() != at::kFloat) slot.parameter.detach().copy_(slot.master);
}

void AdamW::Step(double rate_factor, double gradient_scale) {
  const at::NoGradGuard no_grad;
  ++steps_;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    for (Slot& slot : slots_[g]) {
      if (!slot.parameter.grad().defined()) continue;
      Update(groups_[g], slot, groups_[g].rate * rate_factor, gradient_scale);
    }
  }
}

void AdamW::ZeroGradients() {
  for (const ParameterGroup& group : groups_) {
    for (const model::NamedTensor& parameter : group.parameters) {
      parameter.tensor.mutable_grad() = at::Tensor();
    }
  }
}

std::vector<model::NamedTensor> AdamW::State() const {
  std::vector<model::NamedTensor> state;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    for (std::size_t i = 0; i < slots_[g].size(); ++i) {
      const std::string& name = groups_[g].parameters[i].name;
      const Slot& slot = slots_[g][i];
      state.push_back({name + ".m", slot.m});
      state.push_back({name + ".v", slot.v});
      if (slot.parameter.scalar_type() != at::kFloat)
        state.push_back({name + ".master", slot.master});
    }
  }
  return state;
}

}  // namespace llava::training
