#include "model/attention/sdpa_attention.h"

#include <ATen/ATen.h>

#include <cmath>

#include "gtest/gtest.h"

namespace llava::model {
namespace {

// The definition, token by token, in double precision.
at::Tensor NaiveAttention(const at::Tensor& q_THD, const at::Tensor& k_TKD, const at::Tensor& v_TKD,
                          const std::vector<std::int64_t>& lengths) {
  const std::int64_t heads = q_THD.size(1), group = heads / k_TKD.size(1);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q_THD.size(2)));
  at::Tensor out = at::zeros_like(q_THD, at::kDouble);
  std::int64_t start = 0;
  for (const std::int64_t length : lengths) {
    for (std::int64_t t = start; t < start + length; ++t) {
      for (std::int64_t h = 0; h < heads; ++h) {
        const at::Tensor k = k_TKD.slice(0, start, t + 1).select(1, h / group).to(at::kDouble);
        const at::Tensor v = v_TKD.slice(0, start, t + 1).select(1, h / group).to(at::kDouble);
        const at::Tensor p = at::softmax(at::mv(k, q_THD[t][h].to(at::kDouble)) * scale, 0);
        out[t][h].copy_(at::mv(v.t(), p));
      }
    }
    start += length;
  }
  return out.to(at::kFloat);
}

TEST(SdpaAttentionTest, EqualsTheDefinition) {
  at::manual_seed(7);
  const std::vector<std::vector<std::int64_t>> batches = {{1}, {5}, {4, 4, 4}, {3, 1, 7}};
  for (const auto& lengths : batches) {
    for (const std::int64_t kv_heads : {1, 2, 4}) {
      std::int64_t tokens = 0;
      for (const std::int64_t length : lengths) tokens += length;
      const at::Tensor q = at::randn({tokens, 4, 16});
      const at::Tensor k = at::randn({tokens, kv_heads, 16});
      const at::Tensor v = at::randn({tokens, kv_heads, 16});
      const at::Tensor out = SdpaAttention(lengths).Forward(0, q, k, v);
      EXPECT_TRUE(out.is_contiguous());
      EXPECT_TRUE(at::allclose(out, NaiveAttention(q, k, v, lengths), 1e-5, 1e-5));
    }
  }
}

TEST(SdpaAttentionTest, GradientsFlowToQueriesKeysAndValues) {
  at::manual_seed(8);
  const at::Tensor q = at::randn({6, 4, 8}).requires_grad_();
  const at::Tensor k = at::randn({6, 2, 8}).requires_grad_();
  const at::Tensor v = at::randn({6, 2, 8}).requires_grad_();
  SdpaAttention({2, 4}).Forward(0, q, k, v).square().sum().backward();
  for (const at::Tensor& x : {q, k, v}) {
    ASSERT_TRUE(x.grad().defined());
    EXPECT_GT(x.grad().abs().max().item<float>(), 0.0f);
  }
}

}  // namespace
}  // namespace llava::model
