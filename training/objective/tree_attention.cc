#include "training/objective/tree_attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace llava::training {

TreeAttention::TreeAttention(const std::vector<std::int64_t>& lengths,
                             const std::vector<std::int32_t>& branches, at::Device device)
    : groups_(static_cast<std::int64_t>(lengths.size())) {
  LLAVA_CHECK(!lengths.empty());
  const auto tokens = static_cast<std::int64_t>(branches.size());
  LLAVA_CHECK_EQ(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}), tokens);
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  padded_GL_ = at::zeros({groups_ * longest}, at::kLong);
  tokens_T_ = at::empty({tokens}, at::kLong);
  visible_G1LL_ = at::zeros({groups_, 1, longest, longest}, at::kBool);
  auto* padded = padded_GL_.mutable_data_ptr<std::int64_t>();
  auto* places = tokens_T_.mutable_data_ptr<std::int64_t>();
  bool* visible = visible_G1LL_.mutable_data_ptr<bool>();
  std::int64_t start = 0;
  for (std::int64_t g = 0; g < groups_; ++g) {
    for (std::int64_t i = 0; i < longest; ++i) {
      bool* row = visible + (g * longest + i) * longest;
      row[i] = true;  // padding sees itself, so that its softmax is defined
      if (i >= lengths[g]) continue;
      padded[g * longest + i] = start + i;
      places[start + i] = g * longest + i;
      for (std::int64_t j = 0; j < i; ++j) {
        row[j] = branches[start + j] == 0 || branches[start + j] == branches[start + i];
      }
    }
    start += lengths[g];
  }
  for (at::Tensor* tensor : {&padded_GL_, &tokens_T_, &visible_G1LL_}) {
    *tensor = tensor->to(device);
  }
}

at::Tensor TreeAttention::Forward(int /*layer*/, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                  const at::Tensor& v_TKD) {
  LLAVA_CHECK_EQ(q_THD.size(0), tokens_T_.size(0));
  const std::int64_t repeats = q_THD.size(1) / k_TKD.size(1);
  const auto pad = [&](const at::Tensor& x, std::int64_t copies) {
    const at::Tensor spread = copies == 1 ? x : x.repeat_interleave(copies, /*dim=*/1);
    return spread.index_select(0, padded_GL_).unflatten(0, {groups_, -1}).transpose(1, 2);
  };
  const at::Tensor mixed_GHLD = at::scaled_dot_product_attention(
      pad(q_THD, 1), pad(k_TKD, repeats), pad(v_TKD, repeats), visible_G1LL_);
  return mixed_GHLD.transpose(1, 2).flatten(0, 1).index_select(0, tokens_T_);
}

}  // namespace llava::training
