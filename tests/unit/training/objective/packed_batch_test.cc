#include "training/objective/packed_batch.h"

#include <gtest/gtest.h>

#include <vector>

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

TEST(PackedBatchTest, ASamplesKeyIsTheSameWhateverItIsPackedWith) {
  const Sample cat = Question("cat", {5, 6}), other = Question("cat", {7, 8, 9});
  const PackedBatch packed = Pack(Collate({cat, other}), at::kCPU);
  ASSERT_EQ(packed.runs.size(), 2u);
  const SampleRun alone = Pack(Collate({other}), at::kCPU).runs.at(0);
  EXPECT_EQ(alone, (SampleRun{alone.key, 0, 6, 6}));
  EXPECT_EQ(packed.runs[0], (SampleRun{packed.runs[0].key, 0, 5, 5}));
  EXPECT_EQ(packed.runs[1], (SampleRun{alone.key, 3, 3, 6})) << "its beginning stands there once";
  Sample named = other;
  named.id = "another";
  EXPECT_NE(Pack(Collate({named}), at::kCPU).runs.at(0).key, alone.key);
  EXPECT_NE(packed.runs[0].key, alone.key);
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

}  // namespace
}  // namespace llava::training
