// Paged attention on any device. Through ATen: copies the keys and values that a step needs out of
// the cache and calls SDPA, once for all sequences that decode; where there is a kernel for decoded
// tokens (DecodeOnGpu), that.
#ifndef LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_
#define LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "model/attention/attention.h"
#include "model/attention/paged_batch.h"
#include "model/kernels/cuda/tensors.h"

namespace llava::model {

// What goes to the device, goes there once a step; no layer waits for it.
class PagedAtenAttention final : public AttentionBackend {
 public:
  // `cache` has KvLayout::kRows and must outlive this object.
  PagedAtenAttention(KvCache& cache, std::vector<PagedSequence> sequences);

  at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                     const at::Tensor& v_TKD) override;

 private:
  // Sequences that attend in one call: chunks of prompts alone, decoded tokens with others of
  // similar contexts, padded to the longest.
  struct Call {
    std::vector<const PagedSequence*> sequences;
    at::Tensor rows;  // of the batch; undefined where they follow the first one
    // Undefined for a prompt's first chunk:
    at::Tensor slots;  // of the keys, one sequence after the other
    at::Tensor bias;   // 0 or -inf, added to the scores
  };
  void PlanDecodes();
  void PlanCalls(at::ScalarType dtype, bool decodes_too);
  void Fill(Call& call, at::ScalarType dtype) const;
  at::Tensor AttendChunk(const Call& call, int layer, const at::Tensor& q_THD,
                         const at::Tensor& k_TKD, const at::Tensor& v_TKD) const;
  at::Tensor AttendDecodes(const Call& call, int layer, const at::Tensor& q_SHD) const;

  KvCache& cache_;
  const std::vector<PagedSequence> sequences_;
  at::Tensor slots_;      // of the batch's rows
  bool planned_ = false;  // by the first Forward:
  GpuDecodes gpu_;        // rows_S undefined where there is no kernel or nothing decodes
  std::vector<Call> calls_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_
