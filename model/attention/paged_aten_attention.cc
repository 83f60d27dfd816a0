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

// Numbers of a sequence in the tables, besides its blocks.
constexpr std::int64_t kColumns = 4;

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

bool PagedAtenAttention::Call::fits_in_place() const {
  const PagedSequence& s = *sequences.front();
  return s.tokens > 1 && s.tokens <= kMostInPlace && s.context > 0;
}

PagedAtenAttention::PagedAtenAttention(KvCache& cache)
    : PagedAttention(cache.shape().device), cache_(cache) {
  LLAVA_CHECK(cache.shape().layout == KvLayout::kRows);
}

void PagedAtenAttention::Plan(std::span<const PagedSequence> sequences, StepBuffer& numbers) {
  sequences_.assign(sequences.begin(), sequences.end());
  FillSlots(sequences_, cache_, host_slots_);
  PlanCalls();
  numbers_ = &numbers;
  slot_part_ = numbers.AddCopyOf<std::int64_t>(host_slots_);
  AddTables(numbers);
  is_begun_ = false;
}

// Groups the batch's sequences into calls, in the order of the batch, so that the rows of a call
// are often a range of it. Beyond kShortKeys padding at most doubles a context.
void PagedAtenAttention::PlanCalls() {
  calls_.clear();
  std::map<std::uint64_t, Call> decodes;
  for (const PagedSequence& s : sequences_) {
    if (s.tokens > 1) continue;
    const auto keys = static_cast<std::uint64_t>(Keys(s) / kShortKeys);
    decodes[std::bit_ceil(keys)].sequences.push_back(&s);
  }
  for (auto& [width, call] : decodes) calls_.push_back(std::move(call));
  const auto first_chunk = std::ssize(calls_);
  for (const PagedSequence& s : sequences_) {
    if (s.tokens > 1) calls_.emplace_back().sequences.push_back(&s);
  }
  std::stable_partition(calls_.begin() + first_chunk, calls_.end(),
                        [](const Call& call) { return call.fits_in_place(); });
}

// The numbers and padded block tables of what reads the cache, in the order of the calls.
void PagedAtenAttention::AddTables(StepBuffer& numbers) {
  in_tables_.clear();
  std::int64_t width = WholeBlocks(reserved_keys_);
  for (Call& call : calls_) {
    if (call.is_first_chunk()) continue;
    call.place = std::ssize(in_tables_);
    in_tables_.insert(in_tables_.end(), call.sequences.begin(), call.sequences.end());
    for (const PagedSequence* s : call.sequences) width = std::max(width, WholeBlocks(Keys(*s)));
  }
  const std::int64_t count = std::ssize(in_tables_);
  const auto [part, values] = numbers.Add<std::int32_t>(count * (kColumns + width));
  table_part_ = part;
  std::fill(values.begin(), values.end(), 0);  // tables are padded
  for (std::int64_t i = 0; i < count; ++i) {
    const PagedSequence& s = *in_tables_[i];
    values[i] = static_cast<std::int32_t>(Keys(s));
    values[count + i] = static_cast<std::int32_t>(s.first_row);
    values[2 * count + i] = static_cast<std::int32_t>(s.tokens);
    values[3 * count + i] = static_cast<std::int32_t>(s.context);
    std::copy_n(s.blocks.begin(), WholeBlocks(Keys(s)),
                values.begin() + kColumns * count + i * width);
  }
}

PagedAtenAttention::Tables PagedAtenAttention::GetTables() const {
  const std::int64_t count = std::ssize(in_tables_);
  const at::Tensor all = numbers_->Get(table_part_);
  const std::int64_t blocks = all.size(0) - kColumns * count;
  return {.lengths_S = all.narrow(0, 0, count),
          .rows_S = all.narrow(0, count, count),
          .tokens_S = all.narrow(0, 2 * count, count),
          .contexts_S = all.narrow(0, 3 * count, count),
          .blocks_SB = all.narrow(0, kColumns * count, blocks)
                           .view({count, blocks / std::max<std::int64_t>(count, 1)})};
}

// What the batch's passes share, of the numbers that are on the device by now.
void PagedAtenAttention::Begin(const at::Tensor& q_THD) {
  LLAVA_CHECK_EQ(q_THD.size(0), std::ssize(host_slots_));
  LLAVA_CHECK_EQ(q_THD.size(1) % cache_.shape().kv_heads, 0);
  slots_ = numbers_->Get(slot_part_);
  const Tables tables = GetTables();
  windowed_.clear();
  const std::vector<int>& windows = cache_.shape().windows;
  if (const int window = windows.empty() ? 0 : *std::ranges::max_element(windows); window > 0) {
    windowed_ = calls_;
    for (Call& call : windowed_) Fill(call, tables, q_THD.scalar_type(), window);
  }
  gpu_.rows_S = at::Tensor();
  gpu_.longest = reserved_keys_;
  chunks_ = {};
  is_begun_ = true;
  // Where every layer has a window nobody reads the rest.
  if (!windows.empty() && *std::ranges::min_element(windows) > 0) return;
  // In this order, in which they stand in calls_.
  if (HasCudaKernels(q_THD) && cache_.shape().head_dim % 8 == 0) BeginDecodes(tables);
  if (HasChunksOnGpu(q_THD, cache_.Rows(0).first)) BeginChunks(tables);
  for (Call& call : calls_) {
    if (!call.is_first_chunk()) Fill(call, tables, q_THD.scalar_type(), /*window=*/0);
  }
}

// One kernel takes every decoded token of the batch, whatever its context.
void PagedAtenAttention::BeginDecodes(const Tables& tables) {
  std::int64_t count = 0;
  while (!calls_.empty() && calls_.front().is_decodes()) {
    for (const PagedSequence* s : calls_.front().sequences) {
      gpu_.longest = std::max(gpu_.longest, Keys(*s));
    }
    count += std::ssize(calls_.front().sequences);
    calls_.erase(calls_.begin());
  }
  if (count == 0) return;
  gpu_.lengths_S = tables.lengths_S.narrow(0, 0, count);
  gpu_.rows_S = tables.rows_S.narrow(0, 0, count);
  gpu_.tables_SB = tables.blocks_SB.narrow(0, 0, count);
}

// One kernel takes every short chunk behind cached tokens.
void PagedAtenAttention::BeginChunks(const Tables& tables) {
  const auto first = std::find_if(calls_.begin(), calls_.end(),
                                  [](const Call& call) { return call.fits_in_place(); });
  auto last = first;
  for (; last != calls_.end() && last->fits_in_place(); ++last) {
    chunks_.longest = std::max(chunks_.longest, last->sequences.front()->tokens);
  }
  if (first == last) return;
  const std::int64_t place = first->place, count = last - first;
  chunks_.first_rows_C = tables.rows_S.narrow(0, place, count);
  chunks_.tokens_C = tables.tokens_S.narrow(0, place, count);
  chunks_.contexts_C = tables.contexts_S.narrow(0, place, count);
  chunks_.tables_CB = tables.blocks_SB.narrow(0, place, count);
  calls_.erase(first, last);
}

void PagedAtenAttention::Fill(Call& call, const Tables& tables, at::ScalarType dtype,
                              int window) const {
  const PagedSequence& first = *call.sequences.front();
  const auto hidden = [window](const at::Tensor& key, const at::Tensor& query) {
    return window > 0 ? (key > query).logical_or_(key <= query - window) : key > query;
  };
  if (call.is_first_chunk()) {
    const at::Tensor token_T = at::arange(first.tokens, slots_.options());
    call.bias = Bias(hidden(token_T, token_T.unsqueeze(1)), dtype);
    return;
  }
  std::int64_t blocks = 0;
  for (const PagedSequence* s : call.sequences) blocks = std::max(blocks, WholeBlocks(Keys(*s)));
  const std::int64_t longest = blocks * kKvBlockTokens;  // SDPA's kernels like even numbers
  const auto sequences = std::ssize(call.sequences);
  const auto of_call = [&](const at::Tensor& all) {
    return all.narrow(0, call.place, sequences).to(at::kLong);
  };
  const at::Tensor table_SB = of_call(tables.blocks_SB.narrow(1, 0, blocks));
  const at::Tensor last_S1 = (of_call(tables.lengths_S) - 1).view({sequences, 1});
  const at::Tensor key_L = at::arange(longest, table_SB.options());
  // The places behind a sequence's last key read that key again, so that nothing is read that was
  // never written.
  const at::Tensor read_SL = at::minimum(key_L, last_S1);
  call.slots = (table_SB.gather(1, read_SL.floor_divide(kKvBlockTokens)) * kKvBlockTokens +
                read_SL.remainder(kKvBlockTokens))
                   .flatten();
  if (!call.is_decodes()) {
    const at::Tensor query_T1 =
        at::arange(first.context, Keys(first), key_L.options()).view({-1, 1});
    call.bias = Bias(hidden(key_L, query_T1), dtype);
    return;
  }
  call.bias = Bias(hidden(key_L, last_S1), dtype).view({sequences, 1, 1, longest});
  if (call.sequences.back()->first_row - first.first_row + 1 != sequences) {
    call.rows = of_call(tables.rows_S);
  }
}

// A prompt's first chunk attends to its own keys and values, rounded as the cache rounds them.
at::Tensor PagedAtenAttention::AttendChunk(const Call& call, int layer, const at::Tensor& q_THD,
                                           const at::Tensor& k_TKD, const at::Tensor& v_TKD) const {
  const bool is_first = call.is_first_chunk(), is_causal = !call.bias.defined();
  const std::int64_t group = q_THD.size(1) / cache_.shape().kv_heads;
  // SDPA's only kernel for grouped queries is for GPUs, bf16 and no bias. Elsewhere each head of
  // keys and values is repeated for its group.
  const bool by_group = is_causal && q_THD.is_cuda() && q_THD.scalar_type() == at::kBFloat16;
  const auto heads_first = [](const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };
  const auto spread = [&](const at::Tensor& of_step, const at::Tensor& cached) {
    const at::Tensor x = is_first ? cache_.Held(of_step) : KvCache::Select(cached, call.slots);
    const at::Tensor wide = x.to(q_THD.scalar_type());
    return heads_first(group == 1 || by_group ? wide : wide.repeat_interleave(group, /*dim=*/1));
  };
  const auto [keys, values] = cache_.Rows(layer);
  return at::scaled_dot_product_attention(heads_first(q_THD), spread(k_TKD, keys),
                                          spread(v_TKD, values), IfDefined(call.bias),
                                          /*dropout_p=*/0.0, is_causal,
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
    return KvCache::Select(all, call.slots)
        .to(q_SHD.scalar_type())
        .view({sequences, -1, heads, q_SHD.size(2)})
        .transpose(1, 2);
  };
  const auto [keys, values] = cache_.Rows(layer);
  return at::scaled_dot_product_attention(q_SHD.reshape({sequences, heads, -1, q_SHD.size(2)}),
                                          by_sequence(keys), by_sequence(values), call.bias)
      .reshape(q_SHD.sizes());
}

at::Tensor PagedAtenAttention::Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                       const at::Tensor& v_TKD) {
  if (!is_begun_) Begin(q_THD);
  cache_.WriteRows(layer, k_TKD, v_TKD, slots_);
  return Attend(layer, q_THD, k_TKD, v_TKD);
}

std::optional<at::Tensor> PagedAtenAttention::RotateAndForward(int layer, const at::Tensor& q_THD,
                                                               const at::Tensor& k_TKD,
                                                               const at::Tensor& v_TKD,
                                                               const at::Tensor& cos,
                                                               const at::Tensor& sin) {
  if (!HasCudaKernels(q_THD)) return std::nullopt;
  if (!is_begun_) Begin(q_THD);
  const auto [keys, values] = cache_.Rows(layer);
  RotateAndWriteOnGpu(q_THD, k_TKD, v_TKD, cos, sin, slots_, keys, values);
  return Attend(layer, q_THD, k_TKD, v_TKD);
}

at::Tensor PagedAtenAttention::Attend(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                      const at::Tensor& v_TKD) {
  at::Tensor out = at::empty(q_THD.sizes(), q_THD.options());
  const bool has_window = cache_.shape().WindowOf(layer) > 0;
  if (!has_window) {
    const auto [keys, values] = cache_.Rows(layer);
    if (gpu_.rows_S.defined()) DecodeOnGpu(gpu_, q_THD, keys, values, out);
    if (chunks_.tokens_C.defined()) AttendChunksOnGpu(chunks_, q_THD, keys, values, out);
  }
  for (const Call& call : has_window ? windowed_ : calls_) {
    AttendCall(call, layer, q_THD, k_TKD, v_TKD, out);
  }
  return out;
}

void PagedAtenAttention::AttendCall(const Call& call, int layer, const at::Tensor& q_THD,
                                    const at::Tensor& k_TKD, const at::Tensor& v_TKD,
                                    const at::Tensor& out_THD) const {
  const PagedSequence& first = *call.sequences.front();
  if (!call.is_decodes()) {
    const auto rows = [&](const at::Tensor& x) {
      return x.narrow(0, first.first_row, first.tokens);
    };
    rows(out_THD).copy_(AttendChunk(call, layer, rows(q_THD), rows(k_TKD), rows(v_TKD)));
    return;
  }
  const auto count = static_cast<std::int64_t>(call.sequences.size());
  if (call.rows.defined()) {
    const at::Tensor q_SHD = q_THD.index_select(0, call.rows);
    out_THD.index_copy_(0, call.rows, AttendDecodes(call, layer, q_SHD));
  } else {
    const at::Tensor q_SHD = q_THD.narrow(0, first.first_row, count);
    out_THD.narrow(0, first.first_row, count).copy_(AttendDecodes(call, layer, q_SHD));
  }
}

}  // namespace llava::model
