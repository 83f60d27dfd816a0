#include "server/scheduling/block_pool.h"

#include <gtest/gtest.h>

#include <list>
#include <map>
#include <set>
#include <vector>

#include "base/rng.h"

namespace llava::scheduling {
namespace {

BlockId Take(BlockPool& pool) {
  bool was_kept = false;
  return pool.Allocate(&was_kept);
}

TEST(BlockPoolTest, HandsOutEachBlockOnce) {
  BlockPool pool(3);
  std::set<BlockId> blocks;
  for (int i = 0; i < 3; ++i) blocks.insert(Take(pool));
  EXPECT_EQ(blocks.size(), 3u);
  EXPECT_EQ(pool.available(), 0);
  pool.Unref(*blocks.begin());
  EXPECT_EQ(Take(pool), *blocks.begin());
}

TEST(BlockPoolTest, KeptBlocksAreTakenLastAndTheOldestFirst) {
  BlockPool pool(3);
  const BlockId a = Take(pool);
  const BlockId b = Take(pool);
  pool.Keep(a);
  pool.Keep(b);
  pool.Unref(b);
  pool.Unref(a);
  EXPECT_EQ(pool.cached(), 2);
  EXPECT_EQ(pool.available(), 3);
  bool was_kept = true;
  pool.Allocate(&was_kept);
  EXPECT_FALSE(was_kept);
  EXPECT_EQ(pool.Allocate(&was_kept), b);
  EXPECT_TRUE(was_kept);
  EXPECT_FALSE(pool.kept(b));
}

TEST(BlockPoolTest, ARevivedBlockIsTheNewestAgain) {
  BlockPool pool(2);
  const BlockId a = Take(pool);
  const BlockId b = Take(pool);
  pool.Keep(a);
  pool.Keep(b);
  pool.Unref(a);
  pool.Unref(b);
  pool.Ref(a);
  EXPECT_EQ(pool.used(), 1);
  pool.Unref(a);
  EXPECT_EQ(Take(pool), b);
}

TEST(BlockPoolDeathTest, UnrefOfAFreeBlock) {
  BlockPool pool(1);
  EXPECT_DEATH(pool.Unref(BlockId(0)), "ref_count");
}

TEST(BlockPoolDeathTest, AllocateWhenAllAreUsed) {
  BlockPool pool(1);
  Take(pool);
  EXPECT_DEATH(Take(pool), "available");
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
      if (pool.available() == 0) {
        ASSERT_EQ(counts.size(), static_cast<std::size_t>(kBlocks));
        continue;
      }
      bool was_kept = false;
      const BlockId taken = pool.Allocate(&was_kept);
      if (was_kept) {
        ASSERT_EQ(taken, cached.front());
        ASSERT_EQ(counts.size() + cached.size(), static_cast<std::size_t>(kBlocks));
        cached.pop_front();
        kept.erase(taken);
      }
      ASSERT_TRUE(counts.emplace(taken, 1).second);
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
