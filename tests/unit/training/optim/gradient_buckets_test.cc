#include "training/optim/gradient_buckets.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

namespace llava::training {
namespace {

// As the groups of a stage are: by part, then as strings are sorted.
const std::vector<std::string> kNames = {
    "language_model.lm_head.weight",
    "language_model.model.embed_tokens.weight",
    "language_model.model.layers.0.mlp.up_proj.weight",
    "language_model.model.layers.10.mlp.up_proj.weight",
    "language_model.model.layers.2.mlp.up_proj.weight",
    "language_model.model.norm.weight",
    "multi_modal_projector.linear_1.weight",
    "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight",
    "vision_tower.vision_model.pre_layrnorm.weight",
};

std::vector<std::size_t> Sent(const std::vector<GradientBucket>& buckets) {
  std::vector<std::size_t> sent;
  for (const GradientBucket& bucket : buckets) {
    sent.insert(sent.end(), bucket.members.begin(), bucket.members.end());
  }
  return sent;
}

TEST(GradientBucketsTest, AreSentInTheOrderOfABackwardPass) {
  const std::vector<std::int64_t> elements(kNames.size(), 100);
  const auto buckets = PlanBuckets(kNames, elements, {}, /*ranks=*/2, /*bucket_elements=*/100);
  EXPECT_EQ(Sent(buckets), (std::vector<std::size_t>{0, 5, 3, 4, 2, 1, 6, 7, 8}));
  for (const GradientBucket& bucket : buckets) EXPECT_EQ(bucket.owner, -1);
}

TEST(GradientBucketsTest, OneHasOneOwnerAndEveryParameterIsInOne) {
  std::vector<std::int64_t> elements(kNames.size());
  std::iota(elements.begin(), elements.end(), 1);
  const std::vector<int> owners = DealOwners(elements, 3);
  const auto buckets = PlanBuckets(kNames, elements, owners, 3, /*bucket_elements=*/8);
  std::vector<int> seen(kNames.size(), 0);
  for (const GradientBucket& bucket : buckets) {
    std::int64_t sum = 0;
    for (const std::size_t member : bucket.members) {
      EXPECT_EQ(owners[member], bucket.owner);
      ++seen[member];
      sum += elements[member];
    }
    EXPECT_EQ(bucket.elements, sum);
  }
  EXPECT_EQ(seen, std::vector<int>(kNames.size(), 1));
}

TEST(GradientBucketsTest, OwnersHaveAboutTheSame) {
  EXPECT_EQ(DealOwners({5, 9, 4, 1}, 2), (std::vector<int>{1, 0, 1, 0}));
  EXPECT_EQ(DealOwners({3, 3, 3}, 1), (std::vector<int>{0, 0, 0}));
}

TEST(GradientBucketsTest, NamesSayHowDeepAParameterIs) {
  EXPECT_EQ(DepthOf("language_model.model.layers.31.self_attn.q_proj.lora_A.weight"),
            (ModelDepth{.part = ModelDepth::Part::kDecoderLayers, .layer = 31}));
  EXPECT_EQ(DepthOf("image_newline").part, ModelDepth::Part::kDecoderInput);
  EXPECT_EQ(DepthOf("patch_head.bias").part, ModelDepth::Part::kHead);
  EXPECT_LT(DepthOf("vision_tower.vision_model.encoder.layers.23.mlp.fc1.weight"),
            DepthOf("multi_modal_projector.linear_1.bias"));
}

}  // namespace
}  // namespace llava::training
