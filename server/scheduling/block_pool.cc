#include "server/scheduling/block_pool.h"

#include "base/check.h"
#include "server/scheduling/limits.h"

namespace llava::scheduling {

BlockPool::BlockPool(int num_blocks) {
  LLAVA_CHECK_GT(num_blocks, 0);
  LLAVA_CHECK_LE(num_blocks, kMaxBlocks);
  const auto size = static_cast<std::size_t>(num_blocks);
  counts_.assign(size, 0);
  kept_.assign(size, 0);
  next_.assign(size + 1, num_blocks);
  previous_.assign(size + 1, num_blocks);
  free_.reserve(size);
  for (int i = num_blocks - 1; i >= 0; --i) free_.emplace_back(i);
}

std::optional<BlockPool::Allocation> BlockPool::Allocate() {
  if (!free_.empty()) {
    const BlockId block = free_.back();
    free_.pop_back();
    counts_[index(block)] = 1;
    return Allocation{block, false};
  }
  if (cached_ == 0) return std::nullopt;
  const BlockId oldest(next_.back());
  Unlink(oldest);
  kept_[index(oldest)] = 0;
  counts_[index(oldest)] = 1;
  return Allocation{oldest, true};
}

void BlockPool::Ref(BlockId block) {
  if (counts_[index(block)]++ > 0) return;
  LLAVA_CHECK(kept(block));
  Unlink(block);
}

void BlockPool::Unref(BlockId block) {
  LLAVA_CHECK_GT(ref_count(block), 0);
  if (--counts_[index(block)] > 0) return;
  if (kept(block)) {
    Link(block);
  } else {
    free_.push_back(block);
  }
}

void BlockPool::Keep(BlockId block) {
  LLAVA_CHECK_GT(ref_count(block), 0);
  LLAVA_CHECK(!kept(block));
  kept_[index(block)] = 1;
}

void BlockPool::Link(BlockId block) {
  const std::int32_t head = size();
  const std::int32_t newest = previous_[static_cast<std::size_t>(head)];
  next_[static_cast<std::size_t>(newest)] = block.value();
  previous_[index(block)] = newest;
  next_[index(block)] = head;
  previous_[static_cast<std::size_t>(head)] = block.value();
  ++cached_;
}

void BlockPool::Unlink(BlockId block) {
  const std::int32_t next = next_[index(block)];
  const std::int32_t previous = previous_[index(block)];
  next_[static_cast<std::size_t>(previous)] = next;
  previous_[static_cast<std::size_t>(next)] = previous;
  --cached_;
}

}  // namespace llava::scheduling
