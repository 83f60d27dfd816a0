#include "server/scheduling/feature_cache.h"

#include <gtest/gtest.h>

namespace llava::scheduling {
namespace {

const Digest kV1 = Sha256Of("v1");
const Digest kV2 = Sha256Of("v2");
const Digest kHome = Sha256Of("alice");
const Digest kAway = Sha256Of("bob");
const Digest kCat = Sha256Of("cat");
const Digest kDog = Sha256Of("dog");
const Digest kOwl = Sha256Of("owl");

std::vector<FeatureId> Dropped(FeatureCache& cache) {
  std::vector<FeatureId> dropped;
  cache.TakeDropped(&dropped);
  return dropped;
}

TEST(FeatureCacheTest, IsKeyedByImageVersionAndDomain) {
  FeatureCache cache(100);
  const FeatureId cat = *cache.Insert({kV1, kHome, kCat}, 10);
  EXPECT_EQ(cache.Pin({kV1, kHome, kCat}), cat);
  EXPECT_EQ(cache.pins(cat), 2);
  EXPECT_EQ(cache.Pin({kV2, kHome, kCat}), std::nullopt);
  EXPECT_EQ(cache.Pin({kV1, kHome, kDog}), std::nullopt);
  EXPECT_EQ(cache.Pin({kV1, kAway, kCat}), std::nullopt);
  EXPECT_FALSE(cache.Has({kV1, kAway, kCat}));
  EXPECT_NE(*cache.Insert({kV1, kAway, kCat}, 10), cat);
}

TEST(FeatureCacheTest, TheLeastRecentlyUsedGoesFirst) {
  FeatureCache cache(20);
  const FeatureId cat = *cache.Insert({kV1, kHome, kCat}, 10);
  const FeatureId dog = *cache.Insert({kV1, kHome, kDog}, 10);
  cache.Unpin(cat);
  cache.Unpin(dog);
  cache.Unpin(*cache.Pin({kV1, kHome, kCat}));
  ASSERT_TRUE(cache.Insert({kV1, kHome, kOwl}, 10).has_value());
  EXPECT_EQ(Dropped(cache), std::vector{dog});
  EXPECT_EQ(cache.bytes(), 20);
}

TEST(FeatureCacheTest, PinnedOnesStay) {
  FeatureCache cache(20);
  const FeatureId cat = *cache.Insert({kV1, kHome, kCat}, 15);
  EXPECT_EQ(cache.Insert({kV1, kHome, kDog}, 10), std::nullopt);
  cache.Unpin(cat);
  EXPECT_TRUE(cache.Insert({kV1, kHome, kDog}, 10).has_value());
}

TEST(FeatureCacheTest, AnInvalidOneIsNotFoundAndGoesWithItsLastPin) {
  FeatureCache cache(20);
  const FeatureId cat = *cache.Insert({kV1, kHome, kCat}, 10);
  cache.Invalidate(cat);
  EXPECT_EQ(cache.Pin({kV1, kHome, kCat}), std::nullopt);
  EXPECT_TRUE(Dropped(cache).empty());
  EXPECT_NE(*cache.Insert({kV1, kHome, kCat}, 10), cat);
  cache.Unpin(cat);
  EXPECT_EQ(Dropped(cache), std::vector{cat});
  EXPECT_EQ(cache.size(), 1u);
}

TEST(FeatureCacheTest, AVersionGoesAsAWhole) {
  FeatureCache cache(100);
  const FeatureId one = *cache.Insert({kV1, kHome, kCat}, 10);
  const FeatureId two = *cache.Insert({kV2, kHome, kCat}, 10);
  cache.Unpin(one);
  cache.Unpin(two);
  cache.DropVersion(kV1);
  EXPECT_EQ(Dropped(cache), std::vector{one});
  EXPECT_EQ(cache.Pin({kV2, kHome, kCat}), two);
}

TEST(FeatureCacheTest, HasWhatPinWouldFind) {
  FeatureCache cache(100);
  const Digest version = Sha256Of("v");
  const Digest image = Sha256Of("cat");
  EXPECT_FALSE(cache.Has({version, kHome, image}));
  const auto feature = cache.Insert({version, kHome, image}, 10);
  ASSERT_TRUE(feature.has_value());
  EXPECT_TRUE(cache.Has({version, kHome, image}));
  EXPECT_EQ(cache.pins(*feature), 1) << "looking pins nothing";
  EXPECT_FALSE(cache.Has({version, kHome, Sha256Of("dog")}));
  EXPECT_FALSE(cache.Has({Sha256Of("w"), kHome, image}));
  cache.Invalidate(*feature);
  EXPECT_FALSE(cache.Has({version, kHome, image}));
}

// Exactly the budget fits.
TEST(FeatureCacheTest, TheBudgetMayBeReached) {
  FeatureCache cache(100);
  const Digest version = Sha256Of("v");
  const auto first = cache.Insert({version, kHome, Sha256Of("a")}, 60);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(cache.Insert({version, kHome, Sha256Of("b")}, 41).has_value());
  EXPECT_TRUE(cache.Insert({version, kHome, Sha256Of("b")}, 40).has_value());
  EXPECT_EQ(cache.bytes(), 100);
  EXPECT_EQ(cache.size(), 2u);
}

}  // namespace
}  // namespace llava::scheduling
