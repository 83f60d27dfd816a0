#include "model/network/vision_tower.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/checkpoint/weight_names.h"

namespace llava::model {
namespace {

constexpr std::int64_t kChannels = 3;

std::string Name(const std::string& tail) { return absl::StrCat(kVisionPrefix, tail); }

}  // namespace

VisionBlock::VisionBlock(const VisionConfig& config, WeightSource& source,
                         const std::string& prefix)
    : heads_(config.num_heads),
      activation_(config.hidden_act),
      norm1_(source, prefix + "layer_norm1", config.hidden_size, config.layer_norm_eps),
      norm2_(source, prefix + "layer_norm2", config.hidden_size, config.layer_norm_eps) {
  const std::int64_t size = config.hidden_size;
  const auto attention = [&](const char* name) {
    return source.TakeLinear(absl::StrCat(prefix, "self_attn.", name), size, size, true);
  };
  q_ = attention("q_proj");
  k_ = attention("k_proj");
  v_ = attention("v_proj");
  out_ = attention("out_proj");
  fc1_ = source.TakeLinear(prefix + "mlp.fc1", config.intermediate_size, size, true);
  fc2_ = source.TakeLinear(prefix + "mlp.fc2", size, config.intermediate_size, true);
  const auto packing = source.pack();
  if (!packing) return;
  for (Linear* linear : {&q_, &k_, &v_, &out_, &fc1_, &fc2_}) linear->Pack(packing->others);
}

at::Tensor VisionBlock::Attention(const at::Tensor& x_BSE) const {
  const std::int64_t batch = x_BSE.size(0);
  const std::int64_t tokens = x_BSE.size(1);
  const auto heads = [&](const Linear& linear) {
    return linear.Forward(x_BSE).view({batch, tokens, heads_, -1}).transpose(1, 2);
  };
  const at::Tensor mixed = at::scaled_dot_product_attention(heads(q_), heads(k_), heads(v_));
  return out_.Forward(mixed.transpose(1, 2).reshape({batch, tokens, -1}));
}

at::Tensor VisionBlock::Forward(const at::Tensor& x_BSE) const {
  const at::Tensor x = x_BSE + Attention(norm1_.Forward(x_BSE));
  return x + fc2_.Forward(Activate(activation_, fc1_.Forward(norm2_.Forward(x))));
}

VisionTower::VisionTower(const LlavaConfig& config, WeightSource& source)
    : config_(config.vision),
      keeps_first_row_(config.select == SelectStrategy::kKeepClassToken),
      patch_weight_(source.TakeSmall(Name("embeddings.patch_embedding.weight"),
                                     {config.vision.hidden_size, kChannels,
                                      config.vision.patch_size, config.vision.patch_size})),
      position_embedding_(source.TakeSmall(
          Name("embeddings.position_embedding.weight"),
          {config.vision.patches() + (IsClip() ? 1 : 0), config.vision.hidden_size})) {
  if (IsClip()) {
    class_embedding_ =
        source.TakeSmall(Name("embeddings.class_embedding"), {config.vision.hidden_size});
    pre_norm_.emplace(source, Name("pre_layrnorm"), config.vision.hidden_size,
                      config.vision.layer_norm_eps);
  } else {
    patch_bias_ =
        source.TakeSmall(Name("embeddings.patch_embedding.bias"), {config.vision.hidden_size});
  }
  for (const int layer : config.FeatureLayerIndices()) layers_.push_back(layer);
  LLAVA_CHECK(!layers_.empty());
  const std::int64_t needed = *std::max_element(layers_.begin(), layers_.end());
  for (std::int64_t i = 0; i < needed; ++i) {
    blocks_.emplace_back(config.vision, source, Name(absl::StrCat("encoder.layers.", i, ".")));
  }
}

std::vector<std::string> VisionTower::DormantPrefixes() const {
  std::vector<std::string> prefixes = {Name("post_layernorm.")};
  if (!IsClip()) prefixes.push_back(Name("head."));
  for (auto i = static_cast<int>(blocks_.size()); i < config_.num_layers; ++i) {
    prefixes.push_back(Name(absl::StrCat("encoder.layers.", i, ".")));
  }
  return prefixes;
}

at::Tensor VisionTower::Embed(const at::Tensor& pixels) const {
  const std::int64_t batch = pixels.size(0);
  std::optional<at::Tensor> bias;
  if (!IsClip()) bias = patch_bias_;
  const at::Tensor patches = at::conv2d(pixels.to(patch_weight_.scalar_type()), patch_weight_, bias,
                                        c10::IntArrayRef{config_.patch_size, config_.patch_size})
                                 .flatten(2)
                                 .transpose(1, 2);
  if (!IsClip()) return (patches + position_embedding_).contiguous();
  const at::Tensor class_token = class_embedding_.expand({batch, 1, config_.hidden_size});
  return pre_norm_->Forward(at::cat({class_token, patches}, 1) + position_embedding_);
}

// Keeps the hidden state where it is one of the layers that are read.
void VisionTower::Select(Pass* pass) const {
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i] != pass->blocks) continue;
    pass->selected[i] = keeps_first_row_ ? pass->hidden_BSE : pass->hidden_BSE.slice(1, 1);
  }
}

VisionTower::Pass VisionTower::Begin(const at::Tensor& pixels) const {
  Pass pass{.blocks = 0,
            .hidden_BSE = Embed(pixels),
            .selected = std::vector<at::Tensor>(layers_.size())};
  Select(&pass);
  return pass;
}

void VisionTower::Run(std::int64_t until, Pass* pass) const {
  LLAVA_CHECK_LE(until, blocks());
  while (pass->blocks < until) {
    pass->hidden_BSE = blocks_[static_cast<std::size_t>(pass->blocks)].Forward(pass->hidden_BSE);
    ++pass->blocks;
    Select(pass);
  }
}

at::Tensor VisionTower::Features(const Pass& pass) const {
  LLAVA_CHECK_EQ(pass.blocks, blocks());
  return pass.selected.size() == 1 ? pass.selected.front() : at::cat(pass.selected, -1);
}

at::Tensor VisionTower::Forward(const at::Tensor& pixels) const {
  Pass pass = Begin(pixels);
  Run(blocks(), &pass);
  return Features(pass);
}

}  // namespace llava::model
