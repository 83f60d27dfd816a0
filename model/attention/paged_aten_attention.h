// Paged attention through ATen: gathers each sequence's blocks and calls SDPA. Any device, dtype
// and cache layout; the reference of PagedCpuAttention, and what runs where no kernel of our own
// does.
#ifndef LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_
#define LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "model/attention/attention.h"
#include "model/attention/paged_batch.h"

namespace llava::model {

class PagedAtenAttention final : public AttentionBackend {
 public:
  // `cache` must outlive this object.
  PagedAtenAttention(KvCache& cache, std::vector<PagedSequence> sequences);

  at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                     const at::Tensor& v_TKD) override;

 private:
  KvCache& cache_;
  const std::vector<PagedSequence> sequences_;
  const std::vector<std::int64_t> slots_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_
