#include "model/attention/paged_batch.h"

#include "base/check.h"

namespace llava::model {

std::vector<std::int64_t> SlotsOf(const std::vector<PagedSequence>& sequences,
                                  const KvCache& cache) {
  std::vector<std::int64_t> slots;
  for (const PagedSequence& s : sequences) {
    LLAVA_CHECK_EQ(s.first_row, static_cast<std::int64_t>(slots.size()));
    LLAVA_CHECK_GE(s.tokens, 1);
    LLAVA_CHECK_LE(s.context + s.tokens,
                   static_cast<std::int64_t>(s.blocks.size()) * kKvBlockTokens);
    for (std::int64_t token = s.context; token < s.context + s.tokens; ++token) {
      const std::int32_t block = s.blocks[token / kKvBlockTokens];
      LLAVA_CHECK(block >= 0 && block < cache.blocks());
      slots.push_back(std::int64_t{block} * kKvBlockTokens + token % kKvBlockTokens);
    }
  }
  return slots;
}

}  // namespace llava::model
