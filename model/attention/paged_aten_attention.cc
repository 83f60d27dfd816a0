#include "model/attention/paged_aten_attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <optional>
#include <utility>

namespace llava::model {
namespace {

// [T, H, D] queries, the last T of the [C, K, D] keys and values.
at::Tensor Attend(const at::Tensor& q_THD, const at::Tensor& k_CKD, const at::Tensor& v_CKD) {
  const std::int64_t tokens = q_THD.size(0), context = k_CKD.size(0);
  const std::int64_t group = q_THD.size(1) / k_CKD.size(1);
  std::optional<at::Tensor> mask_TC;  // a single query sees all
  if (tokens > 1) {
    mask_TC = at::ones({tokens, context}, q_THD.options().dtype(at::kBool)).tril(context - tokens);
  }
  const auto heads_first = [](const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };
  const auto spread = [&](const at::Tensor& x) {
    return heads_first(x.repeat_interleave(group, /*dim=*/1).to(q_THD.scalar_type()));
  };
  return at::scaled_dot_product_attention(heads_first(q_THD), spread(k_CKD), spread(v_CKD), mask_TC)
      .squeeze(0)
      .transpose(0, 1);
}

}  // namespace

PagedAtenAttention::PagedAtenAttention(KvCache& cache, std::vector<PagedSequence> sequences)
    : cache_(cache), sequences_(std::move(sequences)), slots_(SlotsOf(sequences_, cache)) {}

at::Tensor PagedAtenAttention::Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                       const at::Tensor& v_TKD) {
  cache_.Write(layer, k_TKD, v_TKD, slots_);
  std::vector<at::Tensor> outputs;
  for (const PagedSequence& s : sequences_) {
    const auto [k, v] = cache_.Read(layer, s.blocks, s.context + s.tokens);
    outputs.push_back(Attend(q_THD.narrow(0, s.first_row, s.tokens), k, v));
  }
  return at::cat(outputs);
}

}  // namespace llava::model
