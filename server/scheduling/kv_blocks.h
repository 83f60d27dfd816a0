// The block tables of the sequences: starting on cached blocks, growing, sharing, copying before a
// shared block is written, giving back.
#ifndef LLAVA_SERVER_SCHEDULING_KV_BLOCKS_H_
#define LLAVA_SERVER_SCHEDULING_KV_BLOCKS_H_

#include <vector>

#include "base/digest.h"
#include "server/scheduling/block_pool.h"
#include "server/scheduling/limits.h"
#include "server/scheduling/marks.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/prefix_index.h"
#include "server/scheduling/sequence.h"

namespace llava::scheduling {

// Blocks that `tokens` tokens take.
inline int BlocksFor(int tokens) { return (tokens + kKvBlockTokens - 1) / kKvBlockTokens; }

// Engine thread only. Invariants:
//   1. a block's reference count is the number of block tables it stands in
//   2. a block that is about to be written stands in one table and is not kept
//   3. a kept block is full, and its content is what its name says
class KvBlocks {
 public:
  KvBlocks(int num_blocks, bool prefix_cache, Marks* marks)
      : pool_(num_blocks), index_(num_blocks), prefix_cache_(prefix_cache), marks_(marks) {}

  // Gives a waiting sequence blocks for all its tokens, the first ones from the prefix index if
  // possible (sequence.computed says how many tokens that saves; one is always left to compute).
  // False, with nothing changed, unless `reserve` blocks would stay available.
  bool Start(Sequence& sequence, int reserve);

  // How many tokens Start would find cached now.
  int PeekCached(Sequence& sequence);

  // Takes over blocks that others have computed since Start. For sequences inside their prompt.
  void Adopt(Sequence& sequence);

  // Makes the slot of token number `computed` writable: a new block at a block's border, or a copy
  // of a shared one (appended to `copies`). False when there is no block left.
  bool Grow(Sequence& sequence, std::vector<BlockCopy>* copies) {
    return sequence.computed < sequence.writable_until || GrowBlocks(sequence, copies);
  }

  // After `computed` rose: names the blocks that became full.
  void Commit(Sequence& sequence) {
    if (sequence.computed >= (sequence.registered + 1) * kKvBlockTokens) NameFullBlocks(sequence);
  }

  // `child` shares all blocks of `parent`.
  void Fork(Sequence& parent, Sequence& child);

  // Gives all blocks back; the named ones stay in the cache.
  void Release(Sequence& sequence);

  const BlockPool& pool() const { return pool_; }
  const PrefixIndex& index() const { return index_; }

 private:
  bool GrowBlocks(Sequence& sequence, std::vector<BlockCopy>* copies);
  void NameFullBlocks(Sequence& sequence);
  BlockId Take();  // REQUIRES: pool().available() > 0
  const Digest& NameOf(Sequence& sequence, int block);
  int MatchPrefix(Sequence& sequence);

  BlockPool pool_;
  PrefixIndex index_;
  BlockNamer namer_;
  const bool prefix_cache_;
  Marks* const marks_;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_KV_BLOCKS_H_
