// The CLIP vision transformer up to the layer that LLaVA reads (Radford et al., arXiv 2103.00020;
// transformers' modeling_clip.py is the reference of every detail).
// Shape letters: B images, S 1 + patches (the class token first), E hidden size of the tower.
#ifndef LLAVA_MODEL_NETWORK_VISION_TOWER_H_
#define LLAVA_MODEL_NETWORK_VISION_TOWER_H_

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "model/config/config.h"
#include "model/network/activation.h"
#include "model/network/linear.h"
#include "model/network/weights.h"

namespace llava::model {

struct LayerNorm {
  at::Tensor weight;
  at::Tensor bias;
  double eps = 1e-5;

  LayerNorm(WeightSource& source, const std::string& prefix, std::int64_t size, double epsilon);
  at::Tensor Forward(const at::Tensor& x) const;
};

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

  // The input of the first block, after pre_layrnorm: [B, S, E].
  at::Tensor Embed(const at::Tensor& pixels) const;

  // Names of tensors that LLaVA's forward never reads, as prefixes of names.
  std::vector<std::string> DormantPrefixes() const;

 private:
  at::Tensor Select(const at::Tensor& hidden_BSE) const;

  VisionConfig config_;
  bool keep_class_token_;
  std::vector<std::int64_t> layers_;  // indices into the hidden states; 0 is Embed's result
  at::Tensor class_embedding_;
  at::Tensor patch_weight_;
  at::Tensor position_embedding_;
  LayerNorm pre_norm_;
  std::vector<VisionBlock> blocks_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_VISION_TOWER_H_
