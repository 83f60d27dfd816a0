#include "model/attention/paged_cpu_attention.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "model/kernels/cpu/worker_pool.h"

namespace llava::model {
namespace {

// Of a key and its value, for each dimension of a head. The arithmetic of a row with them takes
// about as long as reading one byte.
constexpr std::int64_t kBytesOfAToken = 8;

KvFormat FormatOf(at::ScalarType dtype) {
  if (dtype == at::kChar) return KvFormat::kInt8;
  return dtype == at::kBFloat16 ? KvFormat::kBf16 : KvFormat::kFp32;
}

}  // namespace

PagedCpuAttention::PagedCpuAttention(KvCache& cache, const KernelTable& kernels)
    : PagedAttention(cache.shape().device), cache_(cache), kernels_(kernels) {
  LLAVA_CHECK(cache.shape().layout == KvLayout::kTiles);
}

void PagedCpuAttention::Plan(std::span<const PagedSequence> sequences, StepBuffer&) {
  sequences_.assign(sequences.begin(), sequences.end());
  FillSlots(sequences_, cache_, slots_);
  jobs_.clear();
  cost_ = 0;
}

void PagedCpuAttention::PlanJobs(std::int64_t group) {
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    const std::int64_t rows = sequences_[i].tokens * group;
    for (std::int64_t first = 0; first < rows; first += kernels_.attention_rows) {
      const std::int64_t count = std::min<std::int64_t>(kernels_.attention_rows, rows - first);
      for (int head = 0; head < cache_.shape().kv_heads; ++head) {
        jobs_.push_back({static_cast<std::int32_t>(i), head, static_cast<std::int32_t>(first),
                         static_cast<std::int32_t>(count)});
      }
    }
  }
  const auto visible = [&](const Job& job) {
    return sequences_[job.sequence].context + (job.first_row + job.rows) / group;
  };
  for (const Job& job : jobs_) cost_ += visible(job) * (kBytesOfAToken + job.rows);
  std::stable_sort(jobs_.begin(), jobs_.end(),
                   [&](const Job& a, const Job& b) { return visible(a) > visible(b); });
}

at::Tensor PagedCpuAttention::Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                      const at::Tensor& v_TKD) {
  const KvShape& shape = cache_.shape();
  const std::int64_t heads = q_THD.size(1);
  LLAVA_CHECK_EQ(q_THD.size(0), static_cast<std::int64_t>(slots_.size()));
  LLAVA_CHECK_EQ(q_THD.size(2), shape.head_dim);
  LLAVA_CHECK_EQ(heads % shape.kv_heads, 0);
  const std::int64_t group = heads / shape.kv_heads;
  if (jobs_.empty()) PlanJobs(group);
  cache_.Write(layer, k_TKD, v_TKD, slots_);

  const at::Tensor q = q_THD.to(at::kFloat);
  at::Tensor out = at::empty({q.size(0), heads, shape.head_dim}, at::kFloat);
  AttentionArgs base{};
  base.q_token_stride = q.stride(0);
  base.out_token_stride = out.stride(0);
  base.group = static_cast<int>(group);
  base.head_dim = shape.head_dim;
  base.scale_log2e = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(shape.head_dim));
  base.causal = true;
  base.window = shape.WindowOf(layer);
  base.keys = cache_.keys(layer);
  base.values = cache_.values(layer);
  base.key_tile_bytes = cache_.key_tile_bytes();
  base.value_tile_bytes = cache_.value_tile_bytes();
  base.kv_heads = shape.kv_heads;
  base.format = FormatOf(shape.dtype);
  const float* queries = q.const_data_ptr<float>();
  float* outputs = out.mutable_data_ptr<float>();
  const std::int64_t bytes = cost_ * shape.head_dim;
  ParallelJobs(static_cast<std::int64_t>(jobs_.size()), ThreadsFor(bytes), [&](std::int64_t i) {
    const Job& job = jobs_[i];
    const PagedSequence& s = sequences_[job.sequence];
    AttentionArgs args = base;
    args.q = queries + s.first_row * base.q_token_stride;
    args.out = outputs + s.first_row * base.out_token_stride;
    args.first_visible = s.context + 1;
    args.blocks = s.blocks.data();
    kernels_.attend(args, job.kv_head, job.first_row, job.rows);
  });
  return out.to(q_THD.scalar_type());
}

}  // namespace llava::model
