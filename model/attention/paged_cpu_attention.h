// Paged attention on the CPU: reads the blocks in place, for prompt chunks and decoded tokens in
// one call.
#ifndef LLAVA_MODEL_ATTENTION_PAGED_CPU_ATTENTION_H_
#define LLAVA_MODEL_ATTENTION_PAGED_CPU_ATTENTION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "model/attention/paged_attention.h"
#include "model/kernels/cpu/dispatch.h"

namespace llava::model {

// Computes in fp32 whatever the dtypes of the cache and of the queries. A token's result has the
// same bits whatever else is in the batch and however its prompt was cut into chunks.
class PagedCpuAttention final : public PagedAttention {
 public:
  // `cache` has KvLayout::kTiles and must outlive this object.
  explicit PagedCpuAttention(KvCache& cache, const KernelTable& kernels = Kernels());

  void Plan(std::span<const PagedSequence> sequences, StepBuffer& numbers) override;

  at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                     const at::Tensor& v_TKD) override;

 private:
  // The rows [first_row, first_row + rows) of one sequence (see KernelTable::attention_rows), which
  // share a pass over the blocks of one key/value head.
  struct Job {
    std::int32_t sequence;
    std::int32_t kv_head;
    std::int32_t first_row;
    std::int32_t rows;
  };
  void PlanJobs(std::int64_t group);

  KvCache& cache_;
  const KernelTable& kernels_;
  std::vector<PagedSequence> sequences_;
  std::vector<std::int64_t> slots_;
  std::vector<Job> jobs_;  // longest context first; made by a batch's first Forward
  std::int64_t cost_ = 0;  // of the jobs together: bytes that take as long to read, over head_dim
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_PAGED_CPU_ATTENTION_H_
