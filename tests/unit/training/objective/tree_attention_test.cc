#include "training/objective/tree_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "model/attention/sdpa_attention.h"

namespace llava::training {
namespace {

// Attention over a shared beginning equals attention over each sample alone.
TEST(TreeAttentionTest, EqualsSeparateSamples) {
  constexpr std::int64_t kHeads = 4, kKeys = 2, kSize = 8;
  const std::vector<std::int32_t> branches = {0, 0, 0, 1, 1, 2, 2, 2, /* next group */ 0, 1, 1, 2};
  TreeAttention tree({8, 4}, branches, at::kCPU);
  const at::Tensor q = at::randn({12, kHeads, kSize});
  const at::Tensor k = at::randn({12, kKeys, kSize});
  const at::Tensor v = at::randn({12, kKeys, kSize});
  const at::Tensor mixed = tree.Forward(0, q, k, v);
  const auto expect_branch = [&](std::int64_t start, std::int64_t shared, std::int64_t from,
                                 std::int64_t count) {
    const auto rows = [&](const at::Tensor& x) {
      return at::cat({x.narrow(0, start, shared), x.narrow(0, from, count)});
    };
    model::SdpaAttention alone({shared + count});
    EXPECT_TRUE(at::allclose(rows(mixed), alone.Forward(0, rows(q), rows(k), rows(v)), 1e-4, 1e-5))
        << "branch at " << from;
  };
  expect_branch(0, 3, 3, 2);
  expect_branch(0, 3, 5, 3);
  expect_branch(8, 1, 9, 2);
  expect_branch(8, 1, 11, 1);
}

// The definition: softmax over all tokens, those that a token must not see at minus infinity. One
// key head a query head.
at::Tensor Masked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const std::vector<std::int32_t>& group, const std::vector<std::int32_t>& branch) {
  const std::int64_t tokens = q.size(0);
  const at::Tensor mask = at::full({tokens, tokens}, -std::numeric_limits<float>::infinity());
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      const bool shares = branch[j] == 0 || branch[j] == branch[i];
      if (group[i] == group[j] && shares) mask.mutable_data_ptr<float>()[i * tokens + j] = 0.0F;
    }
  }
  const at::Tensor scores = at::matmul(q.transpose(0, 1), k.permute({1, 2, 0}));
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2)));
  return at::matmul(at::softmax(scores * scale + mask, -1), v.transpose(0, 1)).transpose(0, 1);
}

// Values and gradients. The second group is one token, the third has no branches.
TEST(TreeAttentionTest, EqualsPlainAttentionWithAMask) {
  const std::vector<std::int64_t> lengths = {6, 1, 3};
  const std::vector<std::int32_t> groups = {0, 0, 0, 0, 0, 0, 1, 2, 2, 2};
  const std::vector<std::int32_t> branches = {0, 0, 1, 2, 2, 3, 0, 0, 0, 0};
  std::vector<at::Tensor> inputs;
  for (int i = 0; i < 3; ++i) inputs.push_back(at::randn({10, 2, 4}).requires_grad_());
  TreeAttention tree(lengths, branches, at::kCPU);
  const at::Tensor weights = at::randn({10, 2, 4});
  const auto gradients = [&](const at::Tensor& mixed) {
    (mixed * weights).sum().backward();
    std::vector<at::Tensor> of_inputs;
    for (const at::Tensor& input : inputs) {
      of_inputs.push_back(input.grad().clone());
      input.mutable_grad() = at::Tensor();
    }
    return of_inputs;
  };
  const at::Tensor mixed = tree.Forward(0, inputs[0], inputs[1], inputs[2]);
  const at::Tensor expected = Masked(inputs[0], inputs[1], inputs[2], groups, branches);
  EXPECT_TRUE(at::allclose(mixed, expected, 1e-4, 1e-5));
  const std::vector<at::Tensor> of_tree = gradients(mixed);
  const std::vector<at::Tensor> of_mask = gradients(expected);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(at::allclose(of_tree[i], of_mask[i], 1e-3, 1e-5)) << "input " << i;
  }
}

// What a branch holds does not reach the others, to the bit.
TEST(TreeAttentionTest, BranchesDoNotSeeEachOther) {
  TreeAttention tree({5}, {0, 1, 1, 2, 2}, at::kCPU);
  const at::Tensor q = at::randn({5, 1, 4});
  at::Tensor k = at::randn({5, 1, 4});
  at::Tensor v = at::randn({5, 1, 4});
  const at::Tensor before = tree.Forward(0, q, k, v);
  for (at::Tensor* changed : {&k, &v}) changed->narrow(0, 1, 2).add_(3.0);
  const at::Tensor after = tree.Forward(0, q, k, v);
  EXPECT_TRUE(at::equal(after.narrow(0, 3, 2), before.narrow(0, 3, 2)));
  EXPECT_TRUE(at::equal(after.narrow(0, 0, 1), before.narrow(0, 0, 1)));
  EXPECT_FALSE(at::equal(after.narrow(0, 1, 2), before.narrow(0, 1, 2)));
}

}  // namespace
}  // namespace llava::training
