#include "server/scheduling/block_pool.h"

#include "base/check.h"
#include "server/scheduling/limits.h"

namespace llava::scheduling {

BlockPool::BlockPool(int num_blocks) {
  LLAVA_CHECK_GT(num_blocks, 0);
  LLAVA_CHECK_LE(num_blocks, kMaxBlocks);
  blocks_.resize(static_cast<std::size_t>(num_blocks) + 1);
  at(head()).next = at(head()).previous = head();
  free_.reserve(static_cast<std::size_t>(num_blocks));
  for (int i = num_blocks - 1; i >= 0; --i) free_.emplace_back(i);
}

BlockId BlockPool::Allocate(bool* was_kept) {
  LLAVA_CHECK_GT(available(), 0);
  *was_kept = free_.empty();
  BlockId block = at(head()).next;  // the oldest
  if (*was_kept) {
    Unlink(block);
  } else {
    block = free_.back();
    free_.pop_back();
  }
  at(block).kept = false;
  at(block).count = 1;
  return block;
}

void BlockPool::Ref(BlockId block) {
  if (at(block).count++ > 0) return;
  LLAVA_CHECK(kept(block));
  Unlink(block);
}

void BlockPool::Unref(BlockId block) {
  LLAVA_CHECK_GT(ref_count(block), 0);
  if (--at(block).count > 0) return;
  if (kept(block)) {
    Link(block);
  } else {
    free_.push_back(block);
  }
}

void BlockPool::Keep(BlockId block) {
  LLAVA_CHECK_GT(ref_count(block), 0);
  LLAVA_CHECK(!kept(block));
  at(block).kept = true;
}

void BlockPool::Link(BlockId block) {
  const BlockId newest = at(head()).previous;
  at(newest).next = block;
  at(block).previous = newest;
  at(block).next = head();
  at(head()).previous = block;
  ++cached_;
}

void BlockPool::Unlink(BlockId block) {
  const Block unlinked = at(block);
  at(unlinked.previous).next = unlinked.next;
  at(unlinked.next).previous = unlinked.previous;
  --cached_;
}

}  // namespace llava::scheduling
