// What the decoder needs from attention, and nothing more: training and serving run the same
// decoder and differ only in the backend behind this interface.
//
// Shape letters: T tokens of the flattened batch, H query heads, K key/value heads (H % K == 0:
// query head h reads key/value head h / (H / K), as in GQA, arXiv 2305.13245), D head size.
#ifndef LLAVA_MODEL_ATTENTION_ATTENTION_H_
#define LLAVA_MODEL_ATTENTION_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <optional>

namespace llava::model {

// Causal attention over one flattened batch. An instance knows the batch of the forward pass that
// runs: where each sequence's tokens lie, and (PagedAttention, which is told each batch anew) which
// of its tokens are cached and in which blocks. Owned by whoever builds the batches; used by one
// thread, once per layer, layers in any order.
class AttentionBackend {
 public:
  virtual ~AttentionBackend() = default;

  // softmax(q kᵀ / sqrt(D)) v per sequence, in which a token sees itself and what came before it.
  // q_THD, k_TKD and v_TKD: after rotary embedding, one floating dtype and device, last two
  // dimensions contiguous (slices of one [T, (H + 2K) * D] projection are fine). Returns [T, H, D],
  // contiguous, in the dtype of q. A paged backend also writes k and v into the cache of `layer`.
  virtual at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                             const at::Tensor& v_TKD) = 0;

  // The same of queries and keys that are still to be rotated (RotateRows of network/rows.h), which
  // is done in place: their type and shape as above, without gradients. cos and sin: [T, 1, R / 2]
  // in fp32 for the first R dimensions of a head. nullopt, with nothing done, where no kernel does
  // it together with the rest: then rotate and call Forward.
  virtual std::optional<at::Tensor> RotateAndForward(int /*layer*/, const at::Tensor& /*q_THD*/,
                                                     const at::Tensor& /*k_TKD*/,
                                                     const at::Tensor& /*v_TKD*/,
                                                     const at::Tensor& /*cos*/,
                                                     const at::Tensor& /*sin*/) {
    return std::nullopt;
  }
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_ATTENTION_H_
