#include "training/optim/adapters.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/rng.h"
#include "training/objective/random_weights.h"

namespace llava::training {
namespace {

// A matrix of Phi-3, and what other decoders have in its place.
struct Fused {
  std::string_view name;
  std::vector<std::string_view> parts;
};

const std::vector<Fused>& FusedLayers() {
  static const auto& layers = *new std::vector<Fused>{{"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
                                                      {"gate_up_proj", {"gate_proj", "up_proj"}}};
  return layers;
}

// "q_proj", of a layer or its weight.
std::string_view LastPart(std::string_view name) {
  if (name.ends_with(".weight")) name.remove_suffix(std::string_view(".weight").size());
  return name.substr(name.rfind('.') + 1);
}

bool Contains(const LoraOptions& options, std::string_view target) {
  return std::find(options.targets.begin(), options.targets.end(), target) != options.targets.end();
}

}  // namespace

bool IsTarget(const std::string& name, const LoraOptions& options) {
  if (options.rank <= 0 || !name.starts_with("language_model.")) return false;
  const std::string_view layer = LastPart(name);
  if (Contains(options, layer)) return true;
  return std::any_of(FusedLayers().begin(), FusedLayers().end(), [&](const Fused& fused) {
    return fused.name == layer &&
           std::all_of(fused.parts.begin(), fused.parts.end(),
                       [&](std::string_view part) { return Contains(options, part); });
  });
}

absl::Status CheckTargets(model::Llava& model, const LoraOptions& options) {
  if (options.rank <= 0) return absl::OkStatus();
  std::set<std::string> layers, reached;
  model.decoder().ForEachLinear([&](const std::string& name, const model::Linear&) {
    const std::string layer(LastPart(name));
    layers.insert(layer);
    if (!IsTarget(name, options)) return;
    reached.insert(layer);
    for (const Fused& fused : FusedLayers()) {
      if (fused.name == layer) reached.insert(fused.parts.begin(), fused.parts.end());
    }
  });
  for (const std::string& target : options.targets) {
    if (reached.contains(target)) continue;
    return absl::InvalidArgumentError(absl::StrCat("lora.targets names ", target,
                                                   ", which the model does not have: it has ",
                                                   absl::StrJoin(layers, ", ")));
  }
  return absl::OkStatus();
}

Adapters::Adapters(model::Llava& model, const LoraOptions& options, std::uint64_t seed)
    : model_(model), dropout_(options.dropout) {
  model.decoder().ForEachLinear([&](const std::string& name, model::Linear& layer) {
    if (!IsTarget(name, options)) return;
    auto lora = std::make_shared<model::Lora>();
    const auto type = at::TensorOptions(model.decoder().dtype()).device(model.decoder().device());
    const double deviation = 1.0 / std::sqrt(3.0 * static_cast<double>(layer.in_features()));
    lora->a_RI = RandomNormal({options.rank, layer.in_features()}, deviation, seed, name).to(type);
    lora->b_OR = at::zeros({layer.out_features(), options.rank}, type);
    lora->scale = options.alpha / static_cast<double>(options.rank);
    lora->dropout = options.dropout;
    parameters_.push_back({name + ".lora_A.weight", lora->a_RI});
    parameters_.push_back({name + ".lora_B.weight", lora->b_OR});
    if (options.use_dora) {
      lora->magnitude_O = lora->Lengths(layer.weight());
      parameters_.push_back({name + ".lora_magnitude_vector", lora->magnitude_O});
    }
    layers_.push_back(name);
    weights_.push_back(layer.weight());
    loras_.push_back(lora);
    layer.Attach(lora);
  });
}

void Adapters::BeginPass(std::uint64_t seed) {
  Rng rng(seed);
  for (const auto& lora : loras_) lora->seed = rng.Next();
}

void Adapters::set_learning(bool learning) {
  for (std::size_t i = 0; i < loras_.size(); ++i) {
    model::Lora& lora = *loras_[i];
    lora.dropout = learning ? dropout_ : 0.0;
    const bool measured = !learning && lora.magnitude_O.defined();
    lora.lengths_O = measured ? lora.Lengths(weights_[i]) : at::Tensor();
  }
}

void Adapters::Merge() {
  model_.decoder().ForEachLinear([&](const std::string& name, model::Linear& layer) {
    if (std::find(layers_.begin(), layers_.end(), name) != layers_.end()) layer.MergeLora();
  });
  loras_.clear();
  weights_.clear();
  layers_.clear();
  parameters_.clear();
}

}  // namespace llava::training
