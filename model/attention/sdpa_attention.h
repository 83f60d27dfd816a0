// Attention without a cache, through ATen: for training (autograd works), for whole-sequence
// scoring and as the reference of the other backends. Any device and dtype.
#ifndef LLAVA_MODEL_ATTENTION_SDPA_ATTENTION_H_
#define LLAVA_MODEL_ATTENTION_SDPA_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "model/attention/attention.h"

namespace llava::model {

class SdpaAttention final : public AttentionBackend {
 public:
  // The batch is sequences of these lengths (each at least 1), one after the other. Equal lengths
  // run as one ATen call, others as one call each.
  explicit SdpaAttention(std::vector<std::int64_t> lengths);

  at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                     const at::Tensor& v_TKD) override;

 private:
  const std::vector<std::int64_t> lengths_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_SDPA_ATTENTION_H_
