#include "training/optim/saved_tensors.h"

#include <ATen/core/grad_mode.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "training/optim/adapters.h"
#include "training/optim/trainer.h"

namespace llava::training {

absl::Status AddAdapters(const std::vector<model::NamedTensor>& adapters,
                         const LoraOptions& options, const model::Llava& model) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> by_name;
  for (const model::NamedTensor& tensor : adapters) by_name[tensor.name] = tensor.tensor;
  for (const auto& [name, weight] : model.weights()) {
    if (!IsTarget(name, options)) continue;
    const std::string layer = name.substr(0, name.size() - std::string_view(".weight").size());
    const model::Lora lora{.a_RI = by_name[layer + ".lora_A.weight"],
                           .b_OR = by_name[layer + ".lora_B.weight"],
                           .magnitude_O = by_name[layer + ".lora_magnitude_vector"],
                           .scale = options.alpha / static_cast<double>(options.rank)};
    if (!lora.a_RI.defined() || !lora.b_OR.defined()) continue;  // a stage that has not begun
    const at::Tensor& magnitude = lora.magnitude_O;
    if (lora.a_RI.size(1) != weight.size(1) || lora.b_OR.size(0) != weight.size(0) ||
        magnitude.defined() != options.use_dora ||
        (magnitude.defined() && magnitude.numel() != weight.size(0))) {
      return absl::DataLossError(absl::StrCat("the saved adapter of ", name, " has another shape"));
    }
    weight.detach().copy_(lora.Merged(weight));
  }
  return absl::OkStatus();
}

absl::Status CopyInto(const std::vector<model::NamedTensor>& saved,
                      const std::vector<model::NamedTensor>& targets) {
  const at::NoGradGuard no_grad;
  std::map<std::string_view, const at::Tensor*> by_name;
  for (const model::NamedTensor& tensor : saved) by_name[tensor.name] = &tensor.tensor;
  for (const model::NamedTensor& target : targets) {
    const auto found = by_name.find(target.name);
    if (found == by_name.end() || found->second->sizes() != target.tensor.sizes()) {
      return absl::DataLossError(
          absl::StrCat("the saved state lacks ", target.name, " in the shape of the model"));
    }
    target.tensor.detach().copy_(*found->second);
  }
  return absl::OkStatus();
}

std::vector<model::NamedTensor> WithPrefix(const std::vector<model::NamedTensor>& saved,
                                           std::string_view prefix) {
  std::vector<model::NamedTensor> tensors;
  for (const model::NamedTensor& tensor : saved) {
    if (tensor.name.starts_with(prefix)) {
      tensors.push_back({tensor.name.substr(prefix.size()), tensor.tensor});
    }
  }
  return tensors;
}

absl::Status RestoreWeights(const SavedState& saved, const Recipe& recipe,
                            const model::Llava& model) {
  const at::NoGradGuard no_grad;
  for (const model::NamedTensor& weight : WithPrefix(saved.tensors, kWeightPrefix)) {
    const auto found = model.weights().find(weight.name);
    if (found == model.weights().end() || found->second.sizes() != weight.tensor.sizes()) {
      return absl::DataLossError(
          absl::StrCat("the saved state's ", weight.name, " is no weight of the model"));
    }
    found->second.detach().copy_(weight.tensor);
  }
  const std::int64_t stage = saved.progress.stage;
  if (stage >= std::ssize(recipe.stages)) return absl::OkStatus();
  return AddAdapters(WithPrefix(saved.tensors, kStagePrefix), recipe.stages[stage].lora, model);
}

std::vector<model::NamedTensor> AdaptersOf(const SavedState& saved) {
  std::vector<model::NamedTensor> tensors = WithPrefix(saved.tensors, kStagePrefix);
  std::erase_if(tensors, [](const model::NamedTensor& tensor) {
    return !tensor.name.ends_with(".lora_A.weight") && !tensor.name.ends_with(".lora_B.weight") &&
           !tensor.name.ends_with(".lora_magnitude_vector");
  });
  return tensors;
}

std::vector<model::NamedTensor> WeightsOf(const SavedState& saved) {
  return WithPrefix(saved.tensors, kWeightPrefix);
}

}  // namespace llava::training
