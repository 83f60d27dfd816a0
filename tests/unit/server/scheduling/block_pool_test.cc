#include "server/scheduling/block_pool.h"

#include <gtest/gtest.h>

#include <list>
#include <map>
#include <set>
#include <vector>

#include "base/rng.h"

namespace llava::scheduling {
namespace {

TEST(BlockPoolTest, HandsOutEachBlockOnce) {
  BlockPool pool(3);
  std::set<BlockId> blocks;
  for (int i = 0; i < 3; ++i) blocks.insert(pool.Allocate()->block);
  EXPECT_EQ(blocks.size(), 3u);
  EXPECT_FALSE(pool.Allocate().has_value());
  pool.Unref(*blocks.begin());
  EXPECT_EQ(pool.Allocate()->block, *blocks.begin());
}

TEST(BlockPoolTest, KeptBlocksAreTakenLastAndTheOldestFirst) {
  BlockPool pool(3);
  const BlockId a = pool.Allocate()->block;
  const BlockId b = pool.Allocate()->block;
  pool.Keep(a);
  pool.Keep(b);
  pool.Unref(b);
  pool.Unref(a);
  EXPECT_EQ(pool.cached(), 2);
  EXPECT_EQ(pool.available(), 3);
  EXPECT_FALSE(pool.Allocate()->was_kept);
  const auto oldest = pool.Allocate();
  EXPECT_TRUE(oldest->was_kept);
  EXPECT_EQ(oldest->block, b);
  EXPECT_FALSE(pool.kept(b));
}

TEST(BlockPoolTest, ARevivedBlockIsTheNewestAgain) {
  BlockPool pool(2);
  const BlockId a = pool.Allocate()->block;
  const BlockId b = pool.Allocate()->block;
  pool.Keep(a);
  pool.Keep(b);
  pool.Unref(a);
  pool.Unref(b);
  pool.Ref(a);
  EXPECT_EQ(pool.used(), 1);
  pool.Unref(a);
  EXPECT_EQ(pool.Allocate()->block, b);
}

TEST(BlockPoolDeathTest, UnrefOfAFreeBlock) {
  BlockPool pool(1);
  EXPECT_DEATH(pool.Unref(BlockId(0)), "ref_count");
}

// Against a naive model: counts in a map, the cache as a list.
TEST(BlockPoolTest, RandomOperationsMatchAModel) {
  Rng rng(7);
  constexpr int kBlocks = 12;
  BlockPool pool(kBlocks);
  std::map<BlockId, int> counts;
  std::set<BlockId> kept;
  std::list<BlockId> cached;
  for (int step = 0; step < 20000; ++step) {
    if (rng.Chance(0.4)) {
      const auto taken = pool.Allocate();
      if (!taken) {
        ASSERT_EQ(counts.size(), static_cast<std::size_t>(kBlocks));
        continue;
      }
      if (taken->was_kept) {
        ASSERT_EQ(taken->block, cached.front());
        ASSERT_EQ(counts.size() + cached.size(), static_cast<std::size_t>(kBlocks));
        cached.pop_front();
        kept.erase(taken->block);
      }
      ASSERT_TRUE(counts.emplace(taken->block, 1).second);
    } else if (!cached.empty() && rng.Chance(0.2)) {
      auto it = std::next(cached.begin(), static_cast<long>(rng.Below(cached.size())));
      pool.Ref(*it);
      counts[*it] = 1;
      cached.erase(it);
    } else if (!counts.empty()) {
      auto it = std::next(counts.begin(), static_cast<long>(rng.Below(counts.size())));
      const BlockId block = it->first;
      if (rng.Chance(0.3)) {
        pool.Ref(block);
        ++it->second;
      } else if (!kept.contains(block) && rng.Chance(0.3)) {
        pool.Keep(block);
        kept.insert(block);
      } else {
        pool.Unref(block);
        if (--it->second == 0) {
          counts.erase(it);
          if (kept.contains(block)) cached.push_back(block);
        }
      }
    }
    ASSERT_EQ(pool.used(), static_cast<int>(counts.size()));
    ASSERT_EQ(pool.cached(), static_cast<int>(cached.size()));
  }
}

}  // namespace
}  // namespace llava::scheduling
