// Attention for samples that begin alike: several questions about one image share the rows of the
// prompt's beginning and of the image, which are then computed once. Exact: every token sees what
// it would see if its sample stood alone.
//
// Shape letters: T tokens of the flattened batch, G groups, L the longest group, H heads, D head
// size.
#ifndef LLAVA_TRAINING_OBJECTIVE_TREE_ATTENTION_H_
#define LLAVA_TRAINING_OBJECTIVE_TREE_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention/attention.h"

namespace llava::training {

// A group lies in consecutive tokens: the shared beginning first, then its branches one after
// another. Differentiable. Used by one thread.
class TreeAttention final : public model::AttentionBackend {
 public:
  // lengths: tokens of each group. branches: one entry a token: 0 for the shared beginning, 1, 2,
  // ... for the branches of its group.
  TreeAttention(const std::vector<std::int64_t>& lengths, const std::vector<std::int32_t>& branches,
                at::Device device);

  at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                     const at::Tensor& v_TKD) override;

 private:
  std::int64_t groups_;
  at::Tensor padded_GL_;     // [G * L]: the token at each padded place; 0 where there is none
  at::Tensor tokens_T_;      // [T]: the padded place of each token
  at::Tensor visible_G1LL_;  // bool: query row, key column
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_TREE_ATTENTION_H_
