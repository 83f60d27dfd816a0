// Paged attention on any device. It goes through ATen: the keys and values that a step needs are
// copied out of the cache and passed to SDPA, in one call for decoded tokens of similar contexts.
// Where there are kernels for decoded tokens (DecodeOnGpu) and for short chunks of prompts behind
// cached tokens (AttendChunksOnGpu), those read them in place instead, but for layers with a
// sliding window.
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

// Its numbers are on the device before the first layer: no layer waits for any.
class PagedAtenAttention final : public PagedAttention {
 public:
  // `cache` has KvLayout::kRows and must outlive this object.
  explicit PagedAtenAttention(KvCache& cache);

  void Plan(std::span<const PagedSequence> sequences, StepBuffer& numbers) override;
  void ReserveKeys(std::int64_t keys) override { reserved_keys_ = keys; }

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
    std::int64_t place = 0;  // of the first of them in the tables
    at::Tensor rows;  // of the batch; undefined where they are a range from the first one's on
    // Undefined for a prompt's first chunk:
    at::Tensor slots;  // of the keys that each sequence reads, one sequence after the other
    at::Tensor bias;   // 0 or -inf, added to the scores; of a first chunk in a window too

    bool is_decodes() const { return sequences.front()->tokens == 1; }
    bool is_first_chunk() const { return !is_decodes() && sequences.front()->context == 0; }
    bool fits_in_place() const;
  };
  // Of the sequences that read the cache, int32: keys that each sees, row of its first query,
  // queries, tokens before them, blocks.
  struct Tables {
    at::Tensor lengths_S;
    at::Tensor rows_S;
    at::Tensor tokens_S;
    at::Tensor contexts_S;
    at::Tensor blocks_SB;
  };
  void PlanCalls();
  void AddTables(StepBuffer& numbers);
  Tables GetTables() const;
  // By a batch's first Forward: what the kernels take leaves calls_.
  void Begin(const at::Tensor& q_THD);
  void BeginDecodes(const Tables& tables);
  void BeginChunks(const Tables& tables);
  // `window`: how many of the last keys a token sees, 0: all.
  void Fill(Call& call, const Tables& tables, at::ScalarType dtype, int window) const;
  // Forward once keys and values are in the cache.
  at::Tensor Attend(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                    const at::Tensor& v_TKD);
  void AttendCall(const Call& call, int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                  const at::Tensor& v_TKD, const at::Tensor& out_THD) const;
  at::Tensor AttendChunk(const Call& call, int layer, const at::Tensor& q_THD,
                         const at::Tensor& k_TKD, const at::Tensor& v_TKD) const;
  at::Tensor AttendDecodes(const Call& call, int layer, const at::Tensor& q_SHD) const;

  KvCache& cache_;
  std::int64_t reserved_keys_ = 0;
  std::vector<PagedSequence> sequences_;
  std::vector<std::int64_t> host_slots_;
  std::vector<Call> calls_;     // decoded tokens first, then chunks that fit in place
  std::vector<Call> windowed_;  // the whole batch, for layers with a window; else empty
  const StepBuffer* numbers_ = nullptr;
  StepBuffer::Part slot_part_, table_part_;
  std::vector<const PagedSequence*> in_tables_;
  bool is_begun_ = false;  // by a batch's first Forward:
  at::Tensor slots_;       // of the batch's rows
  GpuDecodes gpu_;         // rows_S undefined where there is no kernel or nothing decodes
  GpuChunks chunks_;       // tokens_C undefined where there is no kernel or no such chunk
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_PAGED_ATEN_ATTENTION_H_
