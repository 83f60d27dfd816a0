#include "training/memory/backward_pass.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace llava::training {
namespace {

constexpr std::int64_t kMillion = 1'000'000;

// A loss, and four layers of 10 M parameters each that keep 1 MB each.
std::vector<BlockMemory> Blocks() {
  std::vector<BlockMemory> blocks = {{.name = "loss", .kept = kMillion, .working = kMillion}};
  for (int i = 4; i-- > 0;) blocks.push_back({.name = "layer", .kept = kMillion, .working = 0});
  return blocks;
}

std::vector<LearnedParameter> Parameters() {
  std::vector<LearnedParameter> parameters;
  for (std::size_t i = 0; i < 4; ++i) {
    parameters.push_back(
        {"language_model.model.layers." + std::to_string(i) + ".mlp.w", 10 * kMillion, 4 - i});
  }
  return parameters;
}

TEST(BackwardPassTest, GradientsComeAsActivationsGo) {
  const PassMemory most = MostOfStep(Blocks(), Parameters(), {.element_bytes = 4});
  // With the last layer's gradients its activations are still there.
  EXPECT_EQ(most.gradients, 160 * kMillion);
  EXPECT_EQ(most.activations, kMillion);
  EXPECT_EQ(most.moment, "layer");
}

TEST(BackwardPassTest, WithoutGradientsTheLossIsMost) {
  const PassMemory most = MostOfStep(Blocks(), {}, {.element_bytes = 4});
  EXPECT_EQ(most.activations, 6 * kMillion);
  EXPECT_EQ(most.moment, "loss");
}

TEST(BackwardPassTest, LaterPassesBeginWithTheGradientsOfEarlierOnes) {
  const PassMemory fine = MostOfStep(Blocks(), Parameters(), {.element_bytes = 4, .passes = 2});
  EXPECT_EQ(fine.gradients, 160 * kMillion);
  EXPECT_EQ(fine.activations, (5 - 1) * kMillion + 40 * kMillion);  // and one that is added
  EXPECT_EQ(fine.moment, "layer of pass 2 of 2");
  const PassMemory coarse = MostOfStep(Blocks(), Parameters(), {.element_bytes = 2, .passes = 2});
  EXPECT_EQ(coarse.gradients, 80 * kMillion);
  EXPECT_EQ(coarse.sums, 160 * kMillion);
}

TEST(BackwardPassTest, ShardedOneHasItsOwnSumsAndALayerOnItsWay) {
  const GradientRules rules{.element_bytes = 2, .ranks = 2, .sharded = true};
  const PassMemory most = MostOfStep(Blocks(), Parameters(), rules);
  // Four buckets of 10 M, two of them of this rank; all on their way, and the last one's gradients.
  EXPECT_EQ(most.sent + most.sums, 160 * kMillion);
  EXPECT_EQ(most.gradients, 20 * kMillion);
  EXPECT_EQ(OwnedByHeaviest(Parameters(), rules), (std::vector<bool>{true, false, true, false}));
}

TEST(BackwardPassTest, BucketsThatHaveArrivedElsewhereAreGone) {
  std::vector<BlockMemory> blocks = {{.name = "loss"}};
  std::vector<LearnedParameter> parameters;
  constexpr std::size_t kLayers = 40;
  for (std::size_t i = 0; i < kLayers; ++i) {
    blocks.push_back({.name = "layer"});
    parameters.push_back({"language_model.model.layers." + std::to_string(i) + ".mlp.w",
                          10 * kMillion, kLayers - i});
  }
  const GradientRules rules{.element_bytes = 2, .ranks = 4, .sharded = true};
  const PassMemory most = MostOfStep(blocks, parameters, rules);
  EXPECT_LE(most.all(), (10 + 5) * 40 * kMillion + 20 * kMillion);
  EXPECT_GE(most.all(), 10 * 40 * kMillion);
}

}  // namespace
}  // namespace llava::training
