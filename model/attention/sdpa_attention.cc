#include "model/attention/sdpa_attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace llava::model {
namespace {

// [T, heads, D] -> [sequences, heads, T / sequences, D].
at::Tensor SplitSequences(const at::Tensor& x_THD, std::int64_t sequences) {
  return x_THD.unflatten(0, {sequences, -1}).transpose(1, 2);
}

// `sequences` of equal length, as one call.
at::Tensor CausalAttention(const at::Tensor& q_THD, const at::Tensor& k_TKD,
                           const at::Tensor& v_TKD, std::int64_t sequences) {
  const std::int64_t group = q_THD.size(1) / k_TKD.size(1);
  auto spread = [group](const at::Tensor& x) {
    return group == 1 ? x : x.repeat_interleave(group, /*dim=*/1);
  };
  const at::Tensor out_BHTD = at::scaled_dot_product_attention(
      SplitSequences(q_THD, sequences), SplitSequences(spread(k_TKD), sequences),
      SplitSequences(spread(v_TKD), sequences), /*attn_mask=*/std::nullopt, /*dropout_p=*/0.0,
      /*is_causal=*/true);
  return out_BHTD.transpose(1, 2).flatten(0, 1);
}

}  // namespace

SdpaAttention::SdpaAttention(std::vector<std::int64_t> lengths) : lengths_(std::move(lengths)) {
  LLAVA_CHECK(!lengths_.empty());
  LLAVA_CHECK_GE(*std::min_element(lengths_.begin(), lengths_.end()), 1);
}

at::Tensor SdpaAttention::Forward(int /*layer*/, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                  const at::Tensor& v_TKD) {
  LLAVA_CHECK_EQ(q_THD.size(0), std::accumulate(lengths_.begin(), lengths_.end(), std::int64_t{0}));
  LLAVA_CHECK_EQ(q_THD.size(1) % k_TKD.size(1), 0);
  const auto sequences = static_cast<std::int64_t>(lengths_.size());
  const bool equal_lengths =
      std::adjacent_find(lengths_.begin(), lengths_.end(), std::not_equal_to<>()) == lengths_.end();
  if (equal_lengths) return CausalAttention(q_THD, k_TKD, v_TKD, sequences).contiguous();
  std::vector<at::Tensor> outputs;
  std::int64_t start = 0;
  for (const std::int64_t length : lengths_) {
    auto part = [start, length](const at::Tensor& x) { return x.narrow(0, start, length); };
    outputs.push_back(CausalAttention(part(q_THD), part(k_TKD), part(v_TKD), 1));
    start += length;
  }
  return at::cat(outputs);
}

}  // namespace llava::model
