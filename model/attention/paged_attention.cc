#include "model/attention/paged_attention.h"

#include "base/check.h"
#include "model/attention/paged_aten_attention.h"
#include "model/attention/paged_cpu_attention.h"

namespace llava::model {

std::unique_ptr<PagedAttention> MakePagedAttention(KvCache& cache) {
  if (cache.shape().layout == KvLayout::kTiles) return std::make_unique<PagedCpuAttention>(cache);
  return std::make_unique<PagedAtenAttention>(cache);
}

void FillSlots(std::span<const PagedSequence> sequences, const KvCache& cache,
               std::vector<std::int64_t>& slots) {
  slots.clear();
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
}

}  // namespace llava::model
