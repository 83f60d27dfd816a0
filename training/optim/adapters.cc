#include "training/optim/adapters.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "training/objective/random_weights.h"

namespace llava::training {

bool IsTarget(const std::string& name, const LoraOptions& options) {
  const std::string layer = name.ends_with(".weight") ? name.substr(0, name.size() - 7) : name;
  return options.rank > 0 && name.starts_with("language_model.") &&
         std::any_of(options.targets.begin(), options.targets.end(),
                     [&](const std::string& target) { return layer.ends_with("." + target); });
}

Adapters::Adapters(model::Llava& model, const LoraOptions& options, std::uint64_t seed)
    : model_(model), dropout_(options.dropout) {
  model.decoder().ForEachLinear([&](const std::string& name, model::Linear& layer) {
    if (!IsTarget(name, options)) return;
    auto lora = std::make_shared<model::Lora>();
    const auto type = layer.weight().options().requires_grad(false);
    const double deviation = 1.0 / std::sqrt(3.0 * static_cast<double>(layer.in_features()));
    lora->a_RI = RandomNormal({options.rank, layer.in_features()}, deviation, seed, name).to(type);
    lora->b_OR = at::zeros({layer.out_features(), options.rank}, type);
    lora->scale = options.alpha / static_cast<double>(options.rank);
    lora->dropout = options.dropout;
    parameters_.push_back({name + ".lora_A.weight", lora->a_RI});
    parameters_.push_back({name + ".lora_B.weight", lora->b_OR});
    layers_.push_back(name);
    loras_.push_back(lora);
    layer.Attach(lora);
  });
}

void Adapters::BeginPass(std::uint64_t seed) {
  Rng rng(seed);
  for (const auto& lora : loras_) lora->seed = rng.Next();
}

void Adapters::UseDropout(bool use) {
  for (const auto& lora : loras_) lora->dropout = use ? dropout_ : 0.0;
}

void Adapters::Merge() {
  model_.decoder().ForEachLinear([&](const std::string& name, model::Linear& layer) {
    if (std::find(layers_.begin(), layers_.end(), name) != layers_.end()) layer.MergeLora();
  });
  loras_.clear();
  layers_.clear();
  parameters_.clear();
}

}  // namespace llava::training
