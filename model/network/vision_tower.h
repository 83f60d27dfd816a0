// The vision transformer up to the layer that LLaVA reads: CLIP's (Radford et al., arXiv
// 2103.00020) or SigLIP's (Zhai et al., arXiv 2303.15343; its second version has the same).
// transformers' modeling_clip.py and modeling_siglip.py are the reference of every detail. Shape
// letters: B images, S patches (CLIP: the class token first), E hidden size of the tower.
#ifndef LLAVA_MODEL_NETWORK_VISION_TOWER_H_
#define LLAVA_MODEL_NETWORK_VISION_TOWER_H_

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "model/config/config.h"
#include "model/network/activation.h"
#include "model/network/layer_norm.h"
#include "model/network/linear.h"
#include "model/network/weights.h"

namespace llava::model {

// One pre-norm transformer block: [B, S, E] -> [B, S, E].
class VisionBlock {
 public:
  VisionBlock(const VisionConfig& config, WeightSource& source, const std::string& prefix);
  at::Tensor Forward(const at::Tensor& x_BSE) const;

 private:
  at::Tensor Attention(const at::Tensor& x_BSE) const;

  std::int64_t heads_;
  Activation activation_;
  LayerNorm norm1_;
  LayerNorm norm2_;
  Linear q_, k_, v_, out_, fc1_, fc2_;
};

// Immutable after construction apart from what a trainer does to the weights; Forward is const and
// thread-compatible. Blocks after the last selected layer and post_layernorm are not loaded.
class VisionTower {
 public:
  VisionTower(const LlavaConfig& config, WeightSource& source);

  // pixels: [B, channels, image_size, image_size], any floating dtype; -> the features that the
  // projector reads: [B, tile_tokens, E * selected layers].
  at::Tensor Forward(const at::Tensor& pixels) const;

  // Forward in pieces, which give the same bits: Begin, Run until `blocks` is blocks(), Features.
  struct Pass {
    std::int64_t blocks = 0;  // that are done
    at::Tensor hidden_BSE;
    std::vector<at::Tensor> selected;  // by place among the layers that LLaVA reads
  };
  Pass Begin(const at::Tensor& pixels) const;
  void Run(std::int64_t until, Pass* pass) const;  // REQUIRES: pass->blocks <= until <= blocks()
  at::Tensor Features(const Pass& pass) const;
  std::int64_t blocks() const { return static_cast<std::int64_t>(blocks_.size()); }

  // The input of the first block (CLIP: after pre_layrnorm): [B, S, E].
  at::Tensor Embed(const at::Tensor& pixels) const;

  // That pixels are rounded to before they are read.
  at::ScalarType dtype() const { return patch_weight_.scalar_type(); }

  // Names of tensors that LLaVA's forward never reads, as prefixes of names.
  std::vector<std::string> DormantPrefixes() const;

 private:
  void Select(Pass* pass) const;
  bool IsClip() const { return config_.tower == VisionConfig::Tower::kClip; }

  VisionConfig config_;
  bool keeps_first_row_;
  std::vector<std::int64_t> layers_;  // indices into the hidden states; 0 is Embed's result
  at::Tensor patch_weight_;
  at::Tensor position_embedding_;
  at::Tensor class_embedding_;         // CLIP
  std::optional<LayerNorm> pre_norm_;  // CLIP
  at::Tensor patch_bias_;              // SigLIP
  std::vector<VisionBlock> blocks_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_VISION_TOWER_H_
