#include "training/objective/packed_batch.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <vector>

#include "model/attention/sdpa_attention.h"
#include "training/objective/tree_attention.h"

namespace llava::training {
namespace {

// A sample: one leading token, an image of 2 rows, then `text`, whose last token is labelled.
Sample Question(const std::string& picture, const std::vector<std::int32_t>& text) {
  Sample sample;
  sample.ids = {1, 99, 99};
  sample.ids.insert(sample.ids.end(), text.begin(), text.end());
  sample.labels.assign(sample.ids.size(), kIgnoreLabel);
  sample.labels.back() = sample.ids.back();
  sample.image_spans = {{1, 2, 0}};
  SampleImage image;
  image.digest = Sha256Of(picture);
  image.layout = {.tiles = 1, .tokens = 2};
  sample.images = {image};
  return sample;
}

std::vector<std::int64_t> ToVector(const at::Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<std::int64_t>();
  return {data, data + tensor.numel()};
}

using Ids = std::vector<std::int64_t>;

TEST(PackedBatchTest, QuestionsAboutOneImageShareItsRows) {
  const Batch batch =
      Collate({Question("cat", {5, 6}), Question("cat", {7, 8, 9}), Question("dog", {5, 6})});
  const PackedBatch packed = Pack(batch, at::kCPU);
  EXPECT_EQ(ToVector(packed.ids_T), (Ids{1, 99, 99, 5, 6, 7, 8, 9, 1, 99, 99, 5, 6}));
  EXPECT_EQ(ToVector(packed.positions_T), (Ids{0, 1, 2, 3, 4, 3, 4, 5, 0, 1, 2, 3, 4}));
  EXPECT_EQ(ToVector(packed.targets_R), (Ids{6, 9, 6}));
  EXPECT_EQ(ToVector(packed.label_rows_R), (Ids{3, 6, 11}));
  EXPECT_EQ(ToVector(packed.image_rows_P), (Ids{1, 2, 9, 10}));
  EXPECT_EQ(ToVector(packed.feature_rows_P), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(packed.images_I.size(), 2u);
}

TEST(PackedBatchTest, AImageThatComesAgainIsEncodedOnce) {
  const Batch batch =
      Collate({Question("cat", {5, 6}), Question("dog", {5, 6}), Question("cat", {7, 8})});
  const PackedBatch packed = Pack(batch, at::kCPU);
  EXPECT_EQ(packed.ids_T.size(0), 15);
  EXPECT_EQ(packed.images_I.size(), 2u);
  EXPECT_EQ(ToVector(packed.feature_rows_P), (Ids{0, 1, 2, 3, 0, 1}));
}

TEST(PackedBatchTest, ADifferentBeginningIsNotShared) {
  Sample other = Question("cat", {7, 8});
  other.ids[0] = 2;
  EXPECT_EQ(Pack(Collate({Question("cat", {5, 6}), other}), at::kCPU).ids_T.size(0), 10);
}

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

}  // namespace
}  // namespace llava::training
