#include "model/attention/paged_aten_attention.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>
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

// Contexts below it are padded to each other without a thought.
constexpr std::int64_t kShortKeys = 256;

at::Tensor ToDevice(const std::vector<std::int64_t>& values, at::Device device) {
  return at::tensor(values, at::TensorOptions().dtype(at::kLong)).to(device);
}

std::int64_t Keys(const PagedSequence& s) { return s.context + s.tokens; }

std::int64_t WholeBlocks(std::int64_t tokens) {
  return (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
}

// What is added to the scores: -inf where `hidden`.
at::Tensor Bias(const at::Tensor& hidden, at::ScalarType dtype) {
  return at::zeros(hidden.sizes(), hidden.options().dtype(dtype))
      .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
}

std::optional<at::Tensor> IfDefined(const at::Tensor& x) {
  return x.defined() ? std::optional(x) : std::nullopt;
}

}  // namespace

PagedAtenAttention::PagedAtenAttention(KvCache& cache, std::vector<PagedSequence> sequences)
    : cache_(cache),
      sequences_(std::move(sequences)),
      slots_(ToDevice(SlotsOf(sequences_, cache), cache.shape().device)) {
  LLAVA_CHECK(cache.shape().layout == KvLayout::kRows);
}

// In the order of the batch, so that its rows often are a range. Padding at most doubles a context.
void PagedAtenAttention::PlanCalls(at::ScalarType dtype) {
  std::map<std::uint64_t, Call> decodes;
  for (const PagedSequence& s : sequences_) {
    if (s.tokens > 1) {
      calls_.emplace_back().sequences.push_back(&s);
    } else {
      const auto keys = static_cast<std::uint64_t>(Keys(s) / kShortKeys);
      decodes[std::bit_ceil(keys)].sequences.push_back(&s);
    }
  }
  for (auto& [width, call] : decodes) calls_.push_back(std::move(call));
  for (Call& call : calls_) Fill(call, dtype);
}

void PagedAtenAttention::Fill(Call& call, at::ScalarType dtype) const {
  const PagedSequence& first = *call.sequences.front();
  std::int64_t longest = 0;
  for (const PagedSequence* s : call.sequences) longest = std::max(longest, Keys(*s));
  const std::int64_t blocks = WholeBlocks(longest);
  // Whole blocks, which suit SDPA's kernels, except where SDPA makes the mask.
  const bool causal = first.tokens > 1 && first.context == 0;
  if (!causal) longest = blocks * kKvBlockTokens;

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
  // What lies behind the last key is not read, whatever it is: the last is, again.
  const at::Tensor read_SL = at::minimum(key_L, last_S1);
  call.slots = (table_SB.gather(1, read_SL.floor_divide(kKvBlockTokens)) * kKvBlockTokens +
                read_SL.remainder(kKvBlockTokens))
                   .flatten();
  if (first.tokens > 1) {
    if (causal) return;
    const at::Tensor query_T1 =
        at::arange(first.context, Keys(first), key_L.options()).view({-1, 1});
    call.bias = Bias(key_L > query_T1, dtype);
    return;
  }
  call.bias = Bias(key_L > last_S1, dtype).view({sequences, 1, 1, longest});
  if (rows.back() - rows.front() + 1 != sequences) call.rows = ToDevice(rows, device);
}

at::Tensor PagedAtenAttention::AttendPiece(const Call& call, int layer,
                                           const at::Tensor& q_THD) const {
  const std::int64_t group = q_THD.size(1) / cache_.shape().kv_heads;
  const auto heads_first = [](const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };
  const auto spread = [&](const at::Tensor& x_LKD) {
    const at::Tensor x = x_LKD.to(q_THD.scalar_type());
    return heads_first(group == 1 ? x : x.repeat_interleave(group, /*dim=*/1));
  };
  const auto [k_LKD, v_LKD] = cache_.ReadRows(layer, call.slots);
  return at::scaled_dot_product_attention(heads_first(q_THD), spread(k_LKD), spread(v_LKD),
                                          IfDefined(call.bias), /*dropout_p=*/0.0,
                                          /*is_causal=*/!call.bias.defined())
      .squeeze(0)
      .transpose(0, 1);
}

// The heads of a group are the queries of one head of keys.
at::Tensor PagedAtenAttention::AttendDecodes(const Call& call, int layer,
                                             const at::Tensor& q_SHD) const {
  const std::int64_t sequences = q_SHD.size(0), heads = cache_.shape().kv_heads;
  const auto by_sequence = [&](const at::Tensor& x_NKD) {
    return x_NKD.to(q_SHD.scalar_type())
        .view({sequences, -1, heads, q_SHD.size(2)})
        .transpose(1, 2);
  };
  const auto [k_NKD, v_NKD] = cache_.ReadRows(layer, call.slots);
  return at::scaled_dot_product_attention(q_SHD.reshape({sequences, heads, -1, q_SHD.size(2)}),
                                          by_sequence(k_NKD), by_sequence(v_NKD), call.bias)
      .reshape(q_SHD.sizes());
}

at::Tensor PagedAtenAttention::Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                       const at::Tensor& v_TKD) {
  LLAVA_CHECK_EQ(q_THD.size(0), slots_.size(0));
  LLAVA_CHECK_EQ(q_THD.size(1) % cache_.shape().kv_heads, 0);
  if (calls_.empty()) PlanCalls(q_THD.scalar_type());
  cache_.WriteRows(layer, k_TKD, v_TKD, slots_);
  at::Tensor out = at::empty(q_THD.sizes(), q_THD.options());
  for (const Call& call : calls_) {
    const PagedSequence& first = *call.sequences.front();
    if (first.tokens > 1) {
      out.narrow(0, first.first_row, first.tokens)
          .copy_(AttendPiece(call, layer, q_THD.narrow(0, first.first_row, first.tokens)));
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
