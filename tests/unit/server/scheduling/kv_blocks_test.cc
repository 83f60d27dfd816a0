#include "server/scheduling/kv_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace llava::scheduling {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class KvBlocksTest : public ::testing::Test {
 protected:
  // A waiting sequence of `tokens` tokens, base, base + 1, ...
  Sequence& Make(int tokens, int base = 0, int n = 1) {
    auto request = std::make_unique<Request>();
    request->version = Sha256Of("v1");
    request->n = n;
    for (int i = 0; i < tokens; ++i) request->prompt_ids.push_back(base + i);
    states_.push_back(MakeRequestState(std::move(request), &last_sequence_));
    return *states_.back()->choices[0];
  }

  void Compute(Sequence& sequence, int tokens) {
    sequence.computed += tokens;
    kv_.Commit(sequence);
  }

  Marks marks_;
  KvBlocks kv_{8, /*prefix_cache=*/true, &marks_};
  std::vector<std::unique_ptr<RequestState>> states_;
  std::uint64_t last_sequence_ = 0;
};

TEST(BlocksForTest, RoundsUp) {
  EXPECT_EQ(BlocksFor(0), 0);
  EXPECT_EQ(BlocksFor(1), 1);
  EXPECT_EQ(BlocksFor(16), 1);
  EXPECT_EQ(BlocksFor(17), 2);
}

TEST_F(KvBlocksTest, AStartTakesBlocksForTheWholePrompt) {
  Sequence& sequence = Make(33);
  ASSERT_TRUE(kv_.Start(sequence, 0));
  EXPECT_THAT(sequence.blocks, SizeIs(3));
  EXPECT_EQ(sequence.computed, 0);
  EXPECT_EQ(kv_.pool().used(), 3);
}

TEST_F(KvBlocksTest, AStartThatDoesNotFitChangesNothing) {
  Sequence& sequence = Make(16 * 6);
  EXPECT_FALSE(kv_.Start(sequence, 3));
  EXPECT_THAT(sequence.blocks, IsEmpty());
  EXPECT_EQ(kv_.pool().used(), 0);
  EXPECT_TRUE(kv_.Start(sequence, 2)) << "exactly the reserve is left";
}

TEST_F(KvBlocksTest, WhatWasComputedIsFoundAgain) {
  Sequence& first = Make(40);
  ASSERT_TRUE(kv_.Start(first, 0));
  Compute(first, 15);
  EXPECT_EQ(kv_.index().size(), 0u);
  Compute(first, 1);
  EXPECT_EQ(kv_.index().size(), 1u) << "a block has a name when it is full";
  Compute(first, 24);
  EXPECT_EQ(kv_.index().size(), 2u);
  Sequence& second = Make(40);
  EXPECT_EQ(kv_.PeekCached(second), 32);
  ASSERT_TRUE(kv_.Start(second, 0));
  EXPECT_EQ(second.computed, 32);
  EXPECT_EQ(second.blocks[0], first.blocks[0]);
  EXPECT_EQ(second.blocks[1], first.blocks[1]);
  EXPECT_NE(second.blocks[2], first.blocks[2]);
  EXPECT_EQ(kv_.pool().used(), 4);
  EXPECT_EQ(marks_.count(Mark::kPrefixHitAtStart), 1u);
}

TEST_F(KvBlocksTest, OneTokenIsAlwaysLeftToCompute) {
  Sequence& first = Make(32);
  ASSERT_TRUE(kv_.Start(first, 0));
  Compute(first, 32);
  Sequence& second = Make(32);
  EXPECT_EQ(kv_.PeekCached(second), 16);
  ASSERT_TRUE(kv_.Start(second, 0));
  EXPECT_EQ(second.computed, 16);
  Sequence& longer = Make(33);
  EXPECT_EQ(kv_.PeekCached(longer), 32);
}

TEST_F(KvBlocksTest, AFailedStartLetsTheCachedBlocksGo) {
  Sequence& first = Make(32);
  ASSERT_TRUE(kv_.Start(first, 0));
  Compute(first, 32);
  Sequence& second = Make(16 * 9);
  EXPECT_FALSE(kv_.Start(second, 0));
  EXPECT_EQ(kv_.pool().ref_count(first.blocks[0]), 1);
  EXPECT_EQ(second.computed, 0);
}

TEST_F(KvBlocksTest, ARunningPromptAdoptsWhatAnotherOneComputed) {
  Sequence& first = Make(40);
  Sequence& second = Make(40);
  ASSERT_TRUE(kv_.Start(first, 0));
  ASSERT_TRUE(kv_.Start(second, 0));
  EXPECT_EQ(kv_.pool().used(), 6);
  Compute(first, 40);
  kv_.Adopt(second);
  EXPECT_EQ(second.computed, 32);
  EXPECT_EQ(second.blocks[1], first.blocks[1]);
  EXPECT_EQ(kv_.pool().used(), 4);
  EXPECT_EQ(marks_.count(Mark::kPrefixAdopted), 2u);
  Compute(second, 8);
  EXPECT_EQ(kv_.index().size(), 2u);
}

TEST_F(KvBlocksTest, NothingIsAdoptedInTheMiddleOfABlock) {
  Sequence& first = Make(40);
  Sequence& second = Make(40);
  ASSERT_TRUE(kv_.Start(first, 0));
  ASSERT_TRUE(kv_.Start(second, 0));
  Compute(second, 3);
  Compute(first, 40);
  kv_.Adopt(second);
  EXPECT_EQ(second.computed, 3);
}

TEST_F(KvBlocksTest, TheSameBlockComputedTwiceHasOneName) {
  Sequence& first = Make(20);
  Sequence& second = Make(20);
  ASSERT_TRUE(kv_.Start(first, 0));
  ASSERT_TRUE(kv_.Start(second, 0));
  Compute(first, 20);
  Compute(second, 20);
  EXPECT_EQ(kv_.index().size(), 1u);
  EXPECT_EQ(marks_.count(Mark::kDuplicateBlock), 1u);
  EXPECT_TRUE(kv_.pool().kept(first.blocks[0]));
  EXPECT_FALSE(kv_.pool().kept(second.blocks[0]));
}

TEST_F(KvBlocksTest, ABlockIsAddedAtABorderOnly) {
  Sequence& sequence = Make(16);
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(kv_.Start(sequence, 0));
  Compute(sequence, 16);
  sequence.tokens.push_back(7);
  ASSERT_TRUE(kv_.Grow(sequence, &copies));
  EXPECT_THAT(sequence.blocks, SizeIs(2));
  EXPECT_EQ(sequence.writable_until, 32);
  for (int i = 0; i < 15; ++i) {
    Compute(sequence, 1);
    sequence.tokens.push_back(7);
    ASSERT_TRUE(kv_.Grow(sequence, &copies));
    EXPECT_THAT(sequence.blocks, SizeIs(2)) << i;
  }
  Compute(sequence, 1);
  sequence.tokens.push_back(7);
  ASSERT_TRUE(kv_.Grow(sequence, &copies));
  EXPECT_THAT(sequence.blocks, SizeIs(3));
  EXPECT_THAT(copies, IsEmpty());
}

TEST_F(KvBlocksTest, WithoutABlockItDoesNotGrow) {
  Sequence& all = Make(16 * 8);
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(kv_.Start(all, 0));
  Compute(all, 16 * 8);
  all.tokens.push_back(7);
  EXPECT_FALSE(kv_.Grow(all, &copies));
  EXPECT_THAT(all.blocks, SizeIs(8));
}

TEST_F(KvBlocksTest, ASharedBlockIsCopiedBeforeItIsWritten) {
  Sequence& parent = Make(20, 0, 2);
  Sequence& child = *states_.back()->choices[1];
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(kv_.Start(parent, 0));
  Compute(parent, 20);
  child.tokens = parent.tokens;
  kv_.Fork(parent, child);
  EXPECT_EQ(child.blocks, parent.blocks);
  EXPECT_EQ(child.computed, 20);
  EXPECT_EQ(kv_.pool().used(), 2);
  EXPECT_EQ(kv_.pool().ref_count(parent.blocks[1]), 2);
  parent.tokens.push_back(1);
  const BlockId shared = parent.blocks[1];
  ASSERT_TRUE(kv_.Grow(parent, &copies));
  ASSERT_THAT(copies, SizeIs(1));
  EXPECT_EQ(copies[0].from, shared);
  EXPECT_EQ(copies[0].to, parent.blocks[1]);
  EXPECT_NE(parent.blocks[1], shared);
  child.tokens.push_back(2);
  ASSERT_TRUE(kv_.Grow(child, &copies));
  EXPECT_THAT(copies, SizeIs(1)) << "the last one keeps the original";
  EXPECT_EQ(child.blocks[1], shared);
  EXPECT_EQ(marks_.count(Mark::kCopyOnWrite), 1u);
}

TEST_F(KvBlocksTest, AReleasedPromptStaysCachedTheEndGoesFirst) {
  Sequence& first = Make(16 * 4);
  ASSERT_TRUE(kv_.Start(first, 0));
  Compute(first, 16 * 4);
  kv_.Release(first);
  EXPECT_THAT(first.blocks, IsEmpty());
  EXPECT_EQ(first.computed, 0);
  EXPECT_EQ(kv_.pool().used(), 0);
  EXPECT_EQ(kv_.pool().cached(), 4);
  Sequence& other = Make(16 * 5, 1000);  // 4 free blocks and one cached
  ASSERT_TRUE(kv_.Start(other, 0));
  EXPECT_EQ(marks_.count(Mark::kBlockEvicted), 1u);
  EXPECT_EQ(kv_.index().size(), 3u);
  Sequence& again = Make(16 * 4 + 1);
  EXPECT_EQ(kv_.PeekCached(again), 48) << "the beginning is still there";
}

TEST_F(KvBlocksTest, AResumedSequenceFindsItsOwnBlocks) {
  Sequence& sequence = Make(20);
  ASSERT_TRUE(kv_.Start(sequence, 0));
  Compute(sequence, 20);
  sequence.tokens.push_back(7);
  kv_.Release(sequence);
  ASSERT_TRUE(kv_.Start(sequence, 0));
  EXPECT_EQ(sequence.computed, 16);
  EXPECT_EQ(marks_.count(Mark::kResumedFromCache), 1u);
  EXPECT_EQ(marks_.count(Mark::kPrefixHitAtStart), 0u);
}

TEST_F(KvBlocksTest, WithoutTheCacheNothingIsNamedOrFound) {
  KvBlocks kv(8, /*prefix_cache=*/false, &marks_);
  Sequence& first = Make(40);
  ASSERT_TRUE(kv.Start(first, 0));
  first.computed = 40;
  kv.Commit(first);
  EXPECT_EQ(kv.index().size(), 0u);
  Sequence& second = Make(40);
  EXPECT_EQ(kv.PeekCached(second), 0);
  ASSERT_TRUE(kv.Start(second, 0));
  kv.Adopt(second);
  EXPECT_EQ(second.computed, 0);
  kv.Release(first);
  EXPECT_EQ(kv.pool().cached(), 0);
}

}  // namespace
}  // namespace llava::scheduling
