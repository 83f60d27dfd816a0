// Paged attention on any device. It goes through ATen: the keys and values that a step needs are
// copied out of the cache and passed to SDPA, in one call for decoded tokens of similar contexts.
// Where there are kernels for decoded tokens (DecodeOnGpu) and for short chunks of prompts behind
// cached tokens (AttendChunksOnGpu), those read them in place instead.
#ifndef LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_
#define LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/attention/paged_attention.h"
#include "model/attention/to_device.h"
#include "model/kernels/cuda/tensors.h"

namespace llava::model {

// What goes to the device, goes there once a step, into the same memory: no layer waits for it.
class PagedAtenAttention final : public PagedAttention {
 public:
  // `cache` has KvLayout::kRows and must outlive this object.
  explicit PagedAtenAttention(KvCache& cache);

  void Refill(std::span<const PagedSequence> sequences) override;

  at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                     const at::Tensor& v_TKD) override;
  std::optional<at::Tensor> RotateAndForward(int layer, const at::Tensor& q_THD,
                                             const at::Tensor& k_TKD, const at::Tensor& v_TKD,
                                             const at::Tensor& cos, const at::Tensor& sin) override;

 private:
  // Sequences that attend in one call: chunks of prompts alone, decoded tokens with others of
  // similar contexts, padded to the longest.
  struct Call {
    std::vector<const PagedSequence*> sequences;
    at::Tensor rows;  // of the batch; undefined where they are a range from the first one's on
    // Undefined for a prompt's first chunk:
    at::Tensor slots;  // of the keys that each sequence reads, one sequence after the other
    at::Tensor bias;   // 0 or -inf, added to the scores
  };
  // By a batch's first Forward.
  void Plan(const at::Tensor& q_THD);
  void PlanDecodes();
  void PlanChunks();
  // Of what has no kernel.
  void PlanCalls(at::ScalarType dtype, bool decodes_too, bool chunks_too);
  void Fill(Call& call, at::ScalarType dtype) const;
  // Forward once keys and values are in the cache.
  at::Tensor Attend(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                    const at::Tensor& v_TKD);
  at::Tensor AttendChunk(const Call& call, int layer, const at::Tensor& q_THD,
                         const at::Tensor& k_TKD, const at::Tensor& v_TKD) const;
  at::Tensor AttendDecodes(const Call& call, int layer, const at::Tensor& q_SHD) const;

  KvCache& cache_;
  std::vector<PagedSequence> sequences_;
  std::vector<std::int64_t> host_slots_;
  StepBuffer slot_buffer_;
  at::Tensor slots_;          // of the batch's rows
  bool is_planned_ = false;   // by a batch's first Forward:
  StepBuffer decode_buffer_;  // lengths, rows and tables of gpu_
  GpuDecodes gpu_;            // rows_S undefined where there is no kernel or nothing decodes
  StepBuffer chunk_buffer_;   // rows, tokens, contexts and tables of chunks_
  GpuChunks chunks_;          // tokens_C undefined where there is no kernel or no such chunk
  std::vector<Call> calls_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_
