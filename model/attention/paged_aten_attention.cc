#include "model/attention/paged_aten_attention.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "base/check.h"

namespace llava::model {
namespace {

// Contexts up to this many keys share one call, padded to the longest of them: computing with their
// padding costs less than another call. Longer ones share a call with those of less than twice
// their length.
constexpr std::int64_t kShortKeys = 256;

// Chunks of at most so many tokens attend in place. Every 16 of them read all keys of their
// context: of more, a copy with large products after it is cheaper. Estimated, not measured.
constexpr std::int64_t kMostInPlace = 256;

bool FitsInPlace(const PagedSequence& s) {
  return s.tokens > 1 && s.tokens <= kMostInPlace && s.context > 0;
}

std::int64_t Keys(const PagedSequence& s) { return s.context + s.tokens; }

std::int64_t WholeBlocks(std::int64_t tokens) {
  return (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
}

// The bias that is added to the scores: -inf where `hidden` is true, else 0.
at::Tensor Bias(const at::Tensor& hidden, at::ScalarType dtype) {
  return at::zeros(hidden.sizes(), hidden.options().dtype(dtype))
      .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
}

std::optional<at::Tensor> IfDefined(const at::Tensor& x) {
  return x.defined() ? std::optional(x) : std::nullopt;
}

}  // namespace

PagedAtenAttention::PagedAtenAttention(KvCache& cache)
    : cache_(cache),
      slot_buffer_(at::kLong, cache.shape().device),
      decode_buffer_(at::kInt, cache.shape().device),
      chunk_buffer_(at::kInt, cache.shape().device) {
  LLAVA_CHECK(cache.shape().layout == KvLayout::kRows);
}

void PagedAtenAttention::Refill(std::span<const PagedSequence> sequences) {
  sequences_.assign(sequences.begin(), sequences.end());
  FillSlots(sequences_, cache_, host_slots_);
  const auto rows = slot_buffer_.Fill<std::int64_t>(std::ssize(host_slots_));
  std::copy(host_slots_.begin(), host_slots_.end(), rows.begin());
  slots_ = slot_buffer_.Send();
  is_planned_ = false;
  calls_.clear();
  gpu_.rows_S = at::Tensor();
  gpu_.longest = 0;
  chunks_ = {};
}

// Groups the batch's sequences into calls, in the order of the batch, so that the rows of a call
// are often a range of it. Beyond kShortKeys padding at most doubles a context.
void PagedAtenAttention::PlanCalls(at::ScalarType dtype, bool decodes_too, bool chunks_too) {
  std::map<std::uint64_t, Call> decodes;
  for (const PagedSequence& s : sequences_) {
    if (s.tokens > 1) {
      if (chunks_too || !FitsInPlace(s)) calls_.emplace_back().sequences.push_back(&s);
    } else if (decodes_too) {
      const auto keys = static_cast<std::uint64_t>(Keys(s) / kShortKeys);
      decodes[std::bit_ceil(keys)].sequences.push_back(&s);
    }
  }
  for (auto& [width, call] : decodes) calls_.push_back(std::move(call));
  for (Call& call : calls_) Fill(call, dtype);
}

// Fills gpu_ with every decoded token of the batch, whatever its context.
void PagedAtenAttention::PlanDecodes() {
  std::vector<const PagedSequence*> decodes;
  std::size_t blocks = 0;
  for (const PagedSequence& s : sequences_) {
    if (s.tokens > 1) continue;
    decodes.push_back(&s);
    blocks = std::max(blocks, s.blocks.size());
    gpu_.longest = std::max(gpu_.longest, Keys(s));
  }
  if (decodes.empty()) return;
  const auto count = static_cast<std::int64_t>(decodes.size());
  const auto width = static_cast<std::int64_t>(blocks);
  const auto values = decode_buffer_.Fill<std::int32_t>(count * (2 + width));
  std::fill(values.begin(), values.end(), 0);  // tables are padded
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<std::int32_t>(Keys(*decodes[i]));
    values[count + i] = static_cast<std::int32_t>(decodes[i]->first_row);
    std::copy(decodes[i]->blocks.begin(), decodes[i]->blocks.end(),
              values.begin() + 2 * count + i * width);
  }
  const at::Tensor there = decode_buffer_.Send();  // one copy to the device
  gpu_.lengths_S = there.narrow(0, 0, count);
  gpu_.rows_S = there.narrow(0, count, count);
  gpu_.tables_SB = there.narrow(0, 2 * count, count * width).view({count, width});
}

// Fills chunks_ with every short chunk behind cached tokens.
void PagedAtenAttention::PlanChunks() {
  std::vector<const PagedSequence*> chunks;
  std::size_t blocks = 0;
  for (const PagedSequence& s : sequences_) {
    if (!FitsInPlace(s)) continue;
    chunks.push_back(&s);
    blocks = std::max(blocks, s.blocks.size());
    chunks_.longest = std::max(chunks_.longest, s.tokens);
  }
  if (chunks.empty()) return;
  const auto count = static_cast<std::int64_t>(chunks.size());
  const auto width = static_cast<std::int64_t>(blocks);
  const auto values = chunk_buffer_.Fill<std::int32_t>(count * (3 + width));
  std::fill(values.begin(), values.end(), 0);  // tables are padded
  for (std::int64_t i = 0; i < count; ++i) {
    const PagedSequence& chunk = *chunks[i];
    values[i] = static_cast<std::int32_t>(chunk.first_row);
    values[count + i] = static_cast<std::int32_t>(chunk.tokens);
    values[2 * count + i] = static_cast<std::int32_t>(chunk.context);
    std::copy(chunk.blocks.begin(), chunk.blocks.end(), values.begin() + 3 * count + i * width);
  }
  const at::Tensor there = chunk_buffer_.Send();
  chunks_.first_rows_C = there.narrow(0, 0, count);
  chunks_.tokens_C = there.narrow(0, count, count);
  chunks_.contexts_C = there.narrow(0, 2 * count, count);
  chunks_.tables_CB = there.narrow(0, 3 * count, count * width).view({count, width});
}

void PagedAtenAttention::Fill(Call& call, at::ScalarType dtype) const {
  const PagedSequence& first = *call.sequences.front();
  if (first.tokens > 1 && first.context == 0) return;
  std::int64_t blocks = 0;
  for (const PagedSequence* s : call.sequences) blocks = std::max(blocks, WholeBlocks(Keys(*s)));
  const std::int64_t longest = blocks * kKvBlockTokens;  // SDPA's kernels like even numbers

  std::vector<std::int64_t> table, last, rows;
  for (const PagedSequence* s : call.sequences) {
    const std::int64_t used = WholeBlocks(Keys(*s));
    table.insert(table.end(), s->blocks.begin(), s->blocks.begin() + used);
    table.resize(table.size() + blocks - used);
    last.push_back(Keys(*s) - 1);
    rows.push_back(s->first_row);
  }
  const at::Device device = cache_.shape().device;
  const auto sequences = static_cast<std::int64_t>(call.sequences.size());
  const at::Tensor table_SB = ToDevice(table, device).view({sequences, blocks});
  const at::Tensor last_S1 = ToDevice(last, device).view({sequences, 1});
  const at::Tensor key_L = at::arange(longest, table_SB.options());
  // The places behind a sequence's last key read that key again, so that nothing is read that was
  // never written.
  const at::Tensor read_SL = at::minimum(key_L, last_S1);
  call.slots = (table_SB.gather(1, read_SL.floor_divide(kKvBlockTokens)) * kKvBlockTokens +
                read_SL.remainder(kKvBlockTokens))
                   .flatten();
  if (first.tokens > 1) {
    const at::Tensor query_T1 =
        at::arange(first.context, Keys(first), key_L.options()).view({-1, 1});
    call.bias = Bias(key_L > query_T1, dtype);
    return;
  }
  call.bias = Bias(key_L > last_S1, dtype).view({sequences, 1, 1, longest});
  if (rows.back() - rows.front() + 1 != sequences) call.rows = ToDevice(rows, device);
}

// A prompt's first chunk attends to its own keys and values, rounded as the cache rounds them.
at::Tensor PagedAtenAttention::AttendChunk(const Call& call, int layer, const at::Tensor& q_THD,
                                           const at::Tensor& k_TKD, const at::Tensor& v_TKD) const {
  const bool is_first = !call.bias.defined();
  const std::int64_t group = q_THD.size(1) / cache_.shape().kv_heads;
  // SDPA's only kernel for grouped queries is for GPUs, bf16 and no bias. Elsewhere each head of
  // keys and values is repeated for its group.
  const bool by_group = is_first && q_THD.is_cuda() && q_THD.scalar_type() == at::kBFloat16;
  const auto heads_first = [](const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };
  const auto spread = [&](const at::Tensor& of_step, const at::Tensor& cached) {
    const at::Tensor x =
        is_first ? of_step.to(cached.scalar_type()) : cached.index_select(0, call.slots);
    const at::Tensor wide = x.to(q_THD.scalar_type());
    return heads_first(group == 1 || by_group ? wide : wide.repeat_interleave(group, /*dim=*/1));
  };
  const auto [keys, values] = cache_.Rows(layer);
  return at::scaled_dot_product_attention(heads_first(q_THD), spread(k_TKD, keys),
                                          spread(v_TKD, values), IfDefined(call.bias),
                                          /*dropout_p=*/0.0, /*is_causal=*/is_first,
                                          /*scale=*/std::nullopt, /*enable_gqa=*/by_group)
      .squeeze(0)
      .transpose(0, 1);
}

// A sequence's query heads of one group are passed as the query tokens of their key/value head:
// then no key or value is repeated.
at::Tensor PagedAtenAttention::AttendDecodes(const Call& call, int layer,
                                             const at::Tensor& q_SHD) const {
  const std::int64_t sequences = q_SHD.size(0), heads = cache_.shape().kv_heads;
  const auto by_sequence = [&](const at::Tensor& all) {
    return all.index_select(0, call.slots)
        .to(q_SHD.scalar_type())
        .view({sequences, -1, heads, q_SHD.size(2)})
        .transpose(1, 2);
  };
  const auto [keys, values] = cache_.Rows(layer);
  return at::scaled_dot_product_attention(q_SHD.reshape({sequences, heads, -1, q_SHD.size(2)}),
                                          by_sequence(keys), by_sequence(values), call.bias)
      .reshape(q_SHD.sizes());
}

void PagedAtenAttention::Plan(const at::Tensor& q_THD) {
  LLAVA_CHECK_EQ(q_THD.size(0), slots_.size(0));
  LLAVA_CHECK_EQ(q_THD.size(1) % cache_.shape().kv_heads, 0);
  if (is_planned_) return;
  const bool kernel = HasCudaKernels(q_THD) && cache_.shape().head_dim % 8 == 0;
  if (kernel) PlanDecodes();
  const bool chunk_kernel = HasChunksOnGpu(q_THD, cache_.Rows(0).first);
  if (chunk_kernel) PlanChunks();
  PlanCalls(q_THD.scalar_type(), /*decodes_too=*/!kernel, /*chunks_too=*/!chunk_kernel);
  is_planned_ = true;
}

at::Tensor PagedAtenAttention::Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                       const at::Tensor& v_TKD) {
  Plan(q_THD);
  cache_.WriteRows(layer, k_TKD, v_TKD, slots_);
  return Attend(layer, q_THD, k_TKD, v_TKD);
}

std::optional<at::Tensor> PagedAtenAttention::RotateAndForward(int layer, const at::Tensor& q_THD,
                                                               const at::Tensor& k_TKD,
                                                               const at::Tensor& v_TKD,
                                                               const at::Tensor& cos,
                                                               const at::Tensor& sin) {
  if (!HasCudaKernels(q_THD)) return std::nullopt;
  Plan(q_THD);
  const auto [keys, values] = cache_.Rows(layer);
  RotateAndWriteOnGpu(q_THD, k_TKD, v_TKD, cos, sin, slots_, keys, values);
  return Attend(layer, q_THD, k_TKD, v_TKD);
}

at::Tensor PagedAtenAttention::Attend(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                      const at::Tensor& v_TKD) {
  at::Tensor out = at::empty(q_THD.sizes(), q_THD.options());
  const auto [keys, values] = cache_.Rows(layer);
  if (gpu_.rows_S.defined()) DecodeOnGpu(gpu_, q_THD, keys, values, out);
  if (chunks_.tokens_C.defined()) AttendChunksOnGpu(chunks_, q_THD, keys, values, out);
  for (const Call& call : calls_) {
    const PagedSequence& first = *call.sequences.front();
    if (first.tokens > 1) {
      const auto rows = [&](const at::Tensor& x) {
        return x.narrow(0, first.first_row, first.tokens);
      };
      rows(out).copy_(AttendChunk(call, layer, rows(q_THD), rows(k_TKD), rows(v_TKD)));
      continue;
    }
    const auto count = static_cast<std::int64_t>(call.sequences.size());
    if (call.rows.defined()) {
      out.index_copy_(0, call.rows, AttendDecodes(call, layer, q_THD.index_select(0, call.rows)));
    } else {
      const at::Tensor q_SHD = q_THD.narrow(0, first.first_row, count);
      out.narrow(0, first.first_row, count).copy_(AttendDecodes(call, layer, q_SHD));
    }
  }
  return out;
}

}  // namespace llava::model
