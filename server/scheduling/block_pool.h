// The KV blocks of one device: who counts on which block, and which one to hand out next. It
// manages ids only; the memory belongs to the executor.
#ifndef LLAVA_SERVER_SCHEDULING_BLOCK_POOL_H_
#define LLAVA_SERVER_SCHEDULING_BLOCK_POOL_H_

#include <cstdint>
#include <optional>
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
  // lost (its name must be erased: `was_kept`). Nothing when all are used.
  struct Allocation {
    BlockId block;
    bool was_kept;
  };
  std::optional<Allocation> Allocate();

  void Ref(BlockId block);    // REQUIRES: used or cached
  void Unref(BlockId block);  // REQUIRES: used
  void Keep(BlockId block);   // REQUIRES: used and not kept

  int size() const { return static_cast<int>(counts_.size()); }
  int available() const { return static_cast<int>(free_.size()) + cached_; }
  int cached() const { return cached_; }
  int used() const { return size() - available(); }
  int ref_count(BlockId block) const { return counts_[index(block)]; }
  bool kept(BlockId block) const { return kept_[index(block)] != 0; }
  const std::vector<BlockId>& free_list() const { return free_; }

 private:
  static std::size_t index(BlockId block) { return static_cast<std::size_t>(block.value()); }
  void Link(BlockId block);
  void Unlink(BlockId block);

  std::vector<std::int32_t> counts_;
  std::vector<std::uint8_t> kept_;
  std::vector<BlockId> free_;
  // A ring through all cached blocks; the last entry is its head (next: oldest, previous: newest).
  std::vector<std::int32_t> next_;
  std::vector<std::int32_t> previous_;
  int cached_ = 0;
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_BLOCK_POOL_H_
