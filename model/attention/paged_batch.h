// What a paged backend is told about the batch of one forward pass.
#ifndef LLAVA_MODEL_ATTENTION_PAGED_BATCH_H_
#define LLAVA_MODEL_ATTENTION_PAGED_BATCH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "model/attention/kv_cache.h"

namespace llava::model {

// Tokens [context, context + tokens) of one sequence, rows [first_row, first_row + tokens) of the
// flattened batch: a chunk of a prompt or one decoded token. Keys and values of [0, context) are in
// the cache already. blocks[i] holds tokens [i * kKvBlockTokens, (i + 1) * kKvBlockTokens) and
// covers context + tokens; it must outlive the backend.
struct PagedSequence {
  std::int64_t first_row = 0;
  std::int64_t tokens = 0;
  std::int64_t context = 0;
  std::span<const std::int32_t> blocks;
};

// For each row of the batch the slot (KvCache::Write) of its token. CHECKs that the sequences cover
// the rows [0, n) one after the other and that their blocks are enough and in the cache.
std::vector<std::int64_t> SlotsOf(const std::vector<PagedSequence>& sequences,
                                  const KvCache& cache);

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_PAGED_BATCH_H_
