// Paged attention on the CPU: reads the blocks in place, for prompt chunks and decoded tokens in
// one call.
#ifndef LLAVA_MODEL_ATTENTION_PAGED_CPU_ATTENTION_H_
#define LLAVA_MODEL_ATTENTION_PAGED_CPU_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "model/attention/attention.h"
#include "model/attention/paged_batch.h"
#include "model/kernels/cpu/dispatch.h"

namespace llava::model {

// Computes in fp32 whatever the dtypes of the cache and of the queries. A token's result has the
// same bits whatever else is in the batch and however its prompt was cut into chunks.
class PagedCpuAttention final : public AttentionBackend {
 public:
  // `cache` has KvLayout::kTiles and must outlive this object.
  PagedCpuAttention(KvCache& cache, std::vector<PagedSequence> sequences,
                    const KernelTable& kernels = Kernels());

  at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                     const at::Tensor& v_TKD) override;

 private:
  // Rows of one sequence that share a pass over the blocks of one key/value head.
  struct Job {
    std::int32_t sequence;
    std::int32_t kv_head;
    std::int32_t first_row;
    std::int32_t rows;
  };
  void PlanJobs(std::int64_t group);

  KvCache& cache_;
  const std::vector<PagedSequence> sequences_;
  const std::vector<std::int64_t> slots_;
  const KernelTable& kernels_;
  std::vector<Job> jobs_;     // longest context first; made by the first Forward
  std::int64_t visible_ = 0;  // tokens that the jobs read, of one key/value head each
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_PAGED_CPU_ATTENTION_H_
