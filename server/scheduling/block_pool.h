// The KV blocks of one device: who counts on which block, and which one to hand out next. It
// manages ids only; the memory belongs to the executor.
#ifndef LLAVA_SERVER_SCHEDULING_BLOCK_POOL_H_
#define LLAVA_SERVER_SCHEDULING_BLOCK_POOL_H_

#include <cstdint>
#include <vector>

#include "server/scheduling/request.h"

namespace llava::scheduling {

// Engine thread only. Invariants:
//   1. every block is free, cached or used: free + cached + used = size
//   2. used   <=> its reference count is above 0
//   3. cached <=> its count is 0 and it is kept: its content has a name in the prefix index
//   4. cached blocks are in the order of their last use, the oldest first
class BlockPool {
 public:
  explicit BlockPool(int num_blocks);

  // A block with count 1 and not kept: a free one, or else the oldest cached one, whose content is
  // lost (its name must be erased: `was_kept`). REQUIRES: available() > 0.
  BlockId Allocate(bool* was_kept);

  void Ref(BlockId block);    // REQUIRES: used or cached
  void Unref(BlockId block);  // REQUIRES: used
  void Keep(BlockId block);   // REQUIRES: used and not kept

  int size() const { return static_cast<int>(blocks_.size()) - 1; }
  int available() const { return static_cast<int>(free_.size()) + cached_; }
  int cached() const { return cached_; }
  int used() const { return size() - available(); }
  int ref_count(BlockId block) const { return at(block).count; }
  bool kept(BlockId block) const { return at(block).kept; }
  const std::vector<BlockId>& free_list() const { return free_; }

 private:
  struct Block {
    std::int32_t count = 0;
    bool kept = false;
    BlockId next;  // in the ring
    BlockId previous;
  };

  Block& at(BlockId block) { return blocks_[static_cast<std::size_t>(block.value())]; }
  const Block& at(BlockId block) const { return blocks_[static_cast<std::size_t>(block.value())]; }
  BlockId head() const { return BlockId(size()); }
  void Link(BlockId block);
  void Unlink(BlockId block);

  // A ring goes through all cached blocks. The last entry is no block but the head of the ring
  // (next: oldest, previous: newest).
  std::vector<Block> blocks_;
  std::vector<BlockId> free_;
  int cached_ = 0;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_BLOCK_POOL_H_
