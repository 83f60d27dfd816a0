#include "server/scheduling/kv_blocks.h"

#include <span>

#include "base/check.h"

namespace llava::scheduling {

bool KvBlocks::Start(Sequence& sequence, int reserve) {
  LLAVA_CHECK(sequence.blocks.empty());
  const int matched = MatchPrefix(sequence);
  const int wanted = BlocksFor(sequence.size()) - matched;
  if (pool_.available() < wanted + reserve) {
    Release(sequence);
    return false;
  }
  for (int i = 0; i < wanted; ++i) sequence.blocks.push_back(Take());
  sequence.computed = matched * kKvBlockTokens;
  sequence.registered = matched;
  if (matched > 0) {
    Hit(marks_, sequence.outputs() > 0 ? Mark::kResumedFromCache : Mark::kPrefixHitAtStart);
  }
  return true;
}

// References the longest run of cached blocks that leaves a token to compute; how many.
int KvBlocks::MatchPrefix(Sequence& sequence) {
  if (!prefix_cache_) return 0;
  const int most = (sequence.size() - 1) / kKvBlockTokens;
  int matched = 0;
  for (; matched < most; ++matched) {
    const auto block = index_.Find(NameOf(sequence, matched));
    if (!block) break;
    pool_.Ref(*block);
    sequence.blocks.push_back(*block);
  }
  return matched;
}

int KvBlocks::PeekCached(Sequence& sequence) {
  if (!prefix_cache_) return 0;
  const int most = (sequence.size() - 1) / kKvBlockTokens;
  int matched = 0;
  while (matched < most && index_.Find(NameOf(sequence, matched))) ++matched;
  return matched * kKvBlockTokens;
}

void KvBlocks::Adopt(Sequence& sequence) {
  if (!prefix_cache_) return;
  const int most = (sequence.size() - 1) / kKvBlockTokens;
  while (sequence.computed % kKvBlockTokens == 0 && sequence.computed / kKvBlockTokens < most) {
    const int number = sequence.computed / kKvBlockTokens;
    const auto block = index_.Find(NameOf(sequence, number));
    if (!block) return;
    BlockId& mine = sequence.blocks[static_cast<std::size_t>(number)];
    LLAVA_CHECK_NE(*block, mine);
    pool_.Ref(*block);
    pool_.Unref(mine);
    mine = *block;
    sequence.computed += kKvBlockTokens;
    sequence.registered = number + 1;
    Hit(marks_, Mark::kPrefixAdopted);
  }
}

bool KvBlocks::GrowBlocks(Sequence& sequence, std::vector<BlockCopy>* copies) {
  const auto number = static_cast<std::size_t>(sequence.computed / kKvBlockTokens);
  const bool is_new = number == sequence.blocks.size();
  if (is_new || pool_.ref_count(sequence.blocks[number]) > 1) {
    if (pool_.available() == 0) return false;
    const BlockId block = Take();
    if (is_new) {
      sequence.blocks.push_back(block);
    } else {
      copies->push_back({sequence.blocks[number], block});
      pool_.Unref(sequence.blocks[number]);
      sequence.blocks[number] = block;
      Hit(marks_, Mark::kCopyOnWrite);
    }
  }
  LLAVA_CHECK(!pool_.kept(sequence.blocks[number]));
  sequence.writable_until = (static_cast<int>(number) + 1) * kKvBlockTokens;
  return true;
}

void KvBlocks::NameFullBlocks(Sequence& sequence) {
  if (!prefix_cache_) return;
  for (; sequence.registered < sequence.computed / kKvBlockTokens; ++sequence.registered) {
    const int number = sequence.registered;
    const BlockId block = sequence.blocks[static_cast<std::size_t>(number)];
    if (index_.Insert(NameOf(sequence, number), block)) {
      pool_.Keep(block);
    } else {
      Hit(marks_, Mark::kDuplicateBlock);
    }
  }
}

void KvBlocks::Fork(Sequence& parent, Sequence& child) {
  LLAVA_CHECK(child.blocks.empty());
  child.blocks = parent.blocks;
  child.names = parent.names;
  child.computed = parent.computed;
  child.registered = parent.registered;
  parent.writable_until = 0;
  for (const BlockId block : child.blocks) pool_.Ref(block);
}

// The end of a prompt goes before its beginning, so that the beginning stays cached longer.
void KvBlocks::Release(Sequence& sequence) {
  for (auto it = sequence.blocks.rbegin(); it != sequence.blocks.rend(); ++it) pool_.Unref(*it);
  sequence.blocks.clear();
  sequence.computed = 0;
  sequence.registered = 0;
  sequence.writable_until = 0;
}

BlockId KvBlocks::Take() {
  bool was_kept = false;
  const BlockId block = pool_.Allocate(&was_kept);
  if (was_kept) {
    index_.Erase(block);
    Hit(marks_, Mark::kBlockEvicted);
  }
  return block;
}

const Digest& KvBlocks::NameOf(Sequence& sequence, int block) {
  const Request& request = *sequence.request->spec;
  while (static_cast<int>(sequence.names.size()) <= block) {
    const int next = static_cast<int>(sequence.names.size());
    const Digest parent =
        next == 0 ? namer_.Root(request.version, AdapterDigest(request), request.cache_domain)
                  : sequence.names.back();
    // Images are in the prompt: behind it nobody looks at the request.
    const bool in_prompt = next * kKvBlockTokens < sequence.prompt_tokens;
    const auto images = in_prompt ? std::span(request.images) : std::span<const ImageInput>();
    sequence.names.push_back(namer_.Name(parent, next, sequence.tokens, images));
  }
  return sequence.names[static_cast<std::size_t>(block)];
}

}  // namespace llava::scheduling
