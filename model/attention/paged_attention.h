// Attention over a paged KV cache: one object for all steps, told anew which batch each step has.
#ifndef LLAVA_MODEL_ATTENTION_PAGED_ATTENTION_H_
#define LLAVA_MODEL_ATTENTION_PAGED_ATTENTION_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/attention/attention.h"
#include "model/attention/kv_cache.h"
#include "model/attention/to_device.h"

namespace llava::model {

// Tokens [context, context + tokens) of one sequence, rows [first_row, first_row + tokens) of the
// flattened batch: a chunk of a prompt or one decoded token. Keys and values of [0, context) are in
// the cache already. blocks[i] holds tokens [i * kKvBlockTokens, (i + 1) * kKvBlockTokens) and
// covers context + tokens.
struct PagedSequence {
  std::int64_t first_row = 0;
  std::int64_t tokens = 0;
  std::int64_t context = 0;
  std::span<const std::int32_t> blocks;
};

class PagedAttention : public AttentionBackend {
 public:
  explicit PagedAttention(at::Device device) : own_(device) {}

  // The batch of the forward passes that follow, in memory that is kept from batch to batch. What
  // the device has to read of it is added to `numbers`, which are sent before those passes, and
  // begun anew only after them; the block tables must outlive them too. CHECKs that the sequences
  // cover the rows [0, n) one after the other and that their blocks are enough and in the cache.
  virtual void Plan(std::span<const PagedSequence> sequences, StepBuffer& numbers) = 0;

  // From now on the sequences of a batch are laid out for the device as if the longest had at least
  // so many keys. Where kernels for decoded tokens read their numbers on the device, all batches of
  // equally many decoded tokens of at most so many keys are then alike, but for those numbers: a
  // pass over one of them that was recorded there can be done again for the others.
  virtual void ReserveKeys(std::int64_t /*keys*/) {}

  // The same for who has nothing else to send.
  void Refill(std::span<const PagedSequence> sequences) {
    own_.Begin();
    Plan(sequences, own_);
    own_.Send();
  }

 private:
  StepBuffer own_;
};

// The backend for the cache's layout. `cache` must outlive it.
std::unique_ptr<PagedAttention> MakePagedAttention(KvCache& cache);

// For each row of the batch the slot (KvCache::Write) of its token, into `slots`. The CHECKs of
// PagedAttention::Plan.
void FillSlots(std::span<const PagedSequence> sequences, const KvCache& cache,
               std::vector<std::int64_t>& slots);

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_PAGED_ATTENTION_H_
