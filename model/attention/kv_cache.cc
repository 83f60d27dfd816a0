#include "model/attention/kv_cache.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/attention/to_device.h"
#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/large_pages.h"
#include "model/kernels/cpu/worker_pool.h"
#include "model/kernels/cuda/e4m3.h"
#include "model/kernels/cuda/tensors.h"

namespace llava::model {
namespace {

// Tokens that one job writes: a step that only decodes is one job, which needs no other thread, and
// the rows of a prompt are jobs for all threads.
constexpr std::int64_t kJobTokens = 32;

// Behind the codes of a tile: a float for each token.
constexpr std::int64_t kScaleBytes = std::int64_t{kKvBlockTokens} * 4;
constexpr float kLargestCode = 127.0f;
constexpr float kLeastScale = 1e-30f;  // whose inverse is a float too

bool HoldsCodes(const KvShape& shape) { return shape.dtype == at::kChar; }
bool HoldsE4m3(const KvShape& shape) { return shape.dtype == at::kFloat8_e4m3fn; }

// Not every operator of ATen knows e4m3: it is moved as bytes.
at::Tensor Movable(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat8_e4m3fn ? x.view(at::kByte) : x;
}

std::int64_t ElementsOfKeyTile(const KvShape& shape) {
  return std::int64_t{kKvBlockTokens} * shape.head_dim + (HoldsCodes(shape) ? kScaleBytes : 0);
}

std::int64_t ElementsOfValueTile(const KvShape& shape) {
  const bool tiles = shape.layout == KvLayout::kTiles;
  return std::int64_t{kKvBlockTokens} * (tiles ? PaddedHeadDim(shape.head_dim) : shape.head_dim) +
         (HoldsCodes(shape) ? kScaleBytes : 0);
}

// Where (token of the block, d) lies in a tile: see AttentionArgs.
template <typename T>
std::int64_t KeyIndex(std::int64_t token, std::int64_t d) {
  constexpr std::int64_t kInWord = 4 / sizeof(T);
  return (d / kInWord * kKvBlockTokens + token) * kInWord + d % kInWord;
}
template <typename T>
std::int64_t ValueIndex(std::int64_t token, std::int64_t d, std::int64_t padded) {
  constexpr std::int64_t kInWord = 4 / sizeof(T);
  return (token / kInWord * padded + d) * kInWord + token % kInWord;
}

// Puts a token's numbers of one head where `index` says.
template <typename To, typename From, typename Index>
void Put(const From* from, std::int64_t dim, To* to, Index index) {
  for (std::int64_t d = 0; d < dim; ++d) to[index(d)] = static_cast<To>(from[d]);
}

// The same as codes; returns their scale. What is no finite number makes the scale NaN, so that it
// is one for whoever reads it.
template <typename From, typename Index>
float PutCodes(const From* from, std::int64_t dim, std::int8_t* to, Index index) {
  float largest = 0, zero = 0;
  for (std::int64_t d = 0; d < dim; ++d) {
    const auto x = static_cast<float>(from[d]);
    largest = std::max(largest, std::abs(x));
    zero += x * 0.0f;
  }
  const float scale = largest / kLargestCode;
  const float inverse = zero == 0.0f && scale >= kLeastScale ? 1.0f / scale : 0.0f;
  for (std::int64_t d = 0; d < dim; ++d) {
    const float code = inverse == 0.0f ? 0.0f : std::rint(static_cast<float>(from[d]) * inverse);
    to[index(d)] = static_cast<std::int8_t>(std::clamp(code, -kLargestCode, kLargestCode));
  }
  return inverse == 0.0f ? zero : scale;
}

float* ScalesOf(std::int8_t* tile, std::int64_t tile_bytes) {
  return reinterpret_cast<float*>(tile + tile_bytes - kScaleBytes);
}

template <typename To, typename From>
void WriteTiles(const KvShape& shape, const at::Tensor& k_TKD, const at::Tensor& v_TKD,
                std::span<const std::int64_t> slots, To* keys, To* values) {
  const From* k = k_TKD.const_data_ptr<From>();
  const From* v = v_TKD.const_data_ptr<From>();
  const std::int64_t dim = shape.head_dim, padded = PaddedHeadDim(shape.head_dim);
  const std::int64_t key_tile = ElementsOfKeyTile(shape), value_tile = ElementsOfValueTile(shape);
  const auto tokens = static_cast<std::int64_t>(slots.size());
  const std::int64_t bytes = tokens * shape.kv_heads * dim * 2 * 4;
  ParallelJobs((tokens + kJobTokens - 1) / kJobTokens, ThreadsFor(bytes), [&](std::int64_t job) {
    const std::int64_t last = std::min(tokens, (job + 1) * kJobTokens);
    for (std::int64_t t = job * kJobTokens; t < last; ++t) {
      const std::int64_t token = slots[t] % kKvBlockTokens;
      for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
        const std::int64_t tile = slots[t] / kKvBlockTokens * shape.kv_heads + h;
        const From* from_k = k + t * k_TKD.stride(0) + h * dim;
        const From* from_v = v + t * v_TKD.stride(0) + h * dim;
        To* to_k = keys + tile * key_tile;
        To* to_v = values + tile * value_tile;
        const auto key = [&](std::int64_t d) { return KeyIndex<To>(token, d); };
        const auto value = [&](std::int64_t d) { return ValueIndex<To>(token, d, padded); };
        if constexpr (std::is_same_v<To, std::int8_t>) {
          ScalesOf(to_k, key_tile)[token] = PutCodes(from_k, dim, to_k, key);
          ScalesOf(to_v, value_tile)[token] = PutCodes(from_v, dim, to_v, value);
        } else {
          Put(from_k, dim, to_k, key);
          Put(from_v, dim, to_v, value);
        }
      }
    }
  });
}

// Calls f with a value of the C++ type of a floating dtype that keys and values come in.
template <typename F>
void WithType(at::ScalarType dtype, F f) {
  LLAVA_CHECK(dtype == at::kFloat || dtype == at::kBFloat16);
  dtype == at::kFloat ? f(float{}) : f(at::BFloat16{});
}

// The same for what the cache holds.
template <typename F>
void WithHeldType(at::ScalarType dtype, F f) {
  dtype == at::kChar ? f(std::int8_t{}) : WithType(dtype, f);
}

absl::Status Check(const KvShape& shape) {
  if (shape.layers < 1 || shape.kv_heads < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("KV cache: ", shape.layers, " layers of ", shape.kv_heads,
                     " key/value heads; expected at least 1 of each"));
  }
  if (shape.head_dim < 2 || shape.head_dim > kMaxHeadDim || shape.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "KV cache: head_dim ", shape.head_dim, ", expected an even number up to ", kMaxHeadDim));
  }
  if (HoldsCodes(shape)) {
    if (shape.layout != KvLayout::kTiles) {
      return absl::InvalidArgumentError("KV cache: int8 is read by the CPU's kernels only");
    }
    if (shape.head_dim % 4 != 0) {
      return absl::InvalidArgumentError(absl::StrCat("KV cache: head_dim ", shape.head_dim,
                                                     ", expected a multiple of 4 for int8"));
    }
  } else if (HoldsE4m3(shape)) {
    if (shape.layout != KvLayout::kRows) {
      return absl::InvalidArgumentError("KV cache: fp8 is not read by the CPU's kernels");
    }
    if (shape.head_dim % 8 != 0) {
      return absl::InvalidArgumentError(absl::StrCat("KV cache: head_dim ", shape.head_dim,
                                                     ", expected a multiple of 8 for fp8"));
    }
  } else if (shape.dtype != at::kFloat && shape.dtype != at::kBFloat16) {
    return absl::InvalidArgumentError(
        absl::StrCat("KV cache: dtype ", at::toString(shape.dtype),
                     ", expected Float, BFloat16, Char or Float8_e4m3fn"));
  }
  if (shape.layout == KvLayout::kTiles && !shape.device.is_cpu()) {
    return absl::InvalidArgumentError("KV cache: tiles are read by the CPU's kernels only");
  }
  return absl::OkStatus();
}

}  // namespace

std::int64_t KvCache::BlockBytes(const KvShape& shape) {
  return shape.layers * shape.kv_heads * (ElementsOfKeyTile(shape) + ElementsOfValueTile(shape)) *
         static_cast<std::int64_t>(c10::elementSize(shape.dtype));
}

absl::StatusOr<KvCache> KvCache::Create(const KvShape& shape, std::int64_t budget_bytes) {
  if (absl::Status status = Check(shape); !status.ok()) return status;
  const std::int64_t blocks = budget_bytes / BlockBytes(shape);
  if (blocks < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "KV cache: a budget of ", budget_bytes, " bytes, but one block takes ", BlockBytes(shape)));
  }
  if (blocks > INT32_MAX) {
    return absl::InvalidArgumentError(absl::StrCat("KV cache: ", blocks, " blocks, at most 2^31"));
  }
  try {
    return KvCache(shape, static_cast<int>(blocks));
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(absl::StrCat("KV cache: cannot allocate ", budget_bytes,
                                                     " bytes: ", error.what_without_backtrace()));
  }
}

KvCache::KvCache(const KvShape& shape, int blocks) : shape_(shape), blocks_(blocks) {
  const auto allocate = [&](std::int64_t elements_of_tile) {
    const std::vector<std::int64_t> sizes = {blocks, shape.kv_heads * elements_of_tile};
    return shape.device.is_cpu() ? EmptyInLargePages(sizes, shape.dtype)
                                 : at::empty(sizes, at::device(shape.device).dtype(shape.dtype));
  };
  for (int i = 0; i < shape.layers; ++i) {
    keys_.push_back(allocate(ElementsOfKeyTile(shape)));
    values_.push_back(allocate(ElementsOfValueTile(shape)));
  }
}

std::int64_t KvCache::key_tile_bytes() const {
  return ElementsOfKeyTile(shape_) * static_cast<std::int64_t>(c10::elementSize(shape_.dtype));
}

std::int64_t KvCache::value_tile_bytes() const {
  return ElementsOfValueTile(shape_) * static_cast<std::int64_t>(c10::elementSize(shape_.dtype));
}

void KvCache::Write(int layer, const at::Tensor& k_TKD, const at::Tensor& v_TKD,
                    std::span<const std::int64_t> slots_T) {
  LLAVA_CHECK_EQ(k_TKD.size(0), static_cast<std::int64_t>(slots_T.size()));
  LLAVA_CHECK(k_TKD.size(1) == shape_.kv_heads && k_TKD.size(2) == shape_.head_dim);
  for (const std::int64_t slot : slots_T) {
    LLAVA_CHECK(slot >= 0 && slot < std::int64_t{blocks_} * kKvBlockTokens);
  }
  if (shape_.layout == KvLayout::kTiles) {
    WithHeldType(shape_.dtype, [&](auto to) {
      WithType(k_TKD.scalar_type(), [&](auto from) {
        WriteTiles<decltype(to), decltype(from)>(shape_, k_TKD, v_TKD, slots_T,
                                                 keys_[layer].mutable_data_ptr<decltype(to)>(),
                                                 values_[layer].mutable_data_ptr<decltype(to)>());
      });
    });
    return;
  }
  WriteRows(layer, k_TKD, v_TKD, ToDevice(slots_T, shape_.device));
}

at::Tensor KvCache::Rows(const at::Tensor& blocks) const {
  LLAVA_CHECK(shape_.layout == KvLayout::kRows);
  return blocks.view({-1, shape_.kv_heads, shape_.head_dim});
}

void KvCache::WriteRows(int layer, const at::Tensor& k_TKD, const at::Tensor& v_TKD,
                        const at::Tensor& slots_T) {
  if (HasCudaKernels(k_TKD)) {
    return WriteOnGpu(k_TKD, v_TKD, slots_T, Rows(keys_[layer]), Rows(values_[layer]));
  }
  Movable(Rows(keys_[layer])).index_copy_(0, slots_T, Movable(Held(k_TKD)));
  Movable(Rows(values_[layer])).index_copy_(0, slots_T, Movable(Held(v_TKD)));
}

at::Tensor KvCache::Held(const at::Tensor& x) const {
  // ATen's own conversion makes NaN of what is too large.
  return (HoldsE4m3(shape_) ? x.clamp(-kMaxE4m3, kMaxE4m3) : x).to(shape_.dtype);
}

at::Tensor KvCache::Select(const at::Tensor& rows, const at::Tensor& index) {
  const at::Tensor found = Movable(rows).index_select(0, index);
  return found.scalar_type() == rows.scalar_type() ? found : found.view(rows.scalar_type());
}

std::pair<at::Tensor, at::Tensor> KvCache::Rows(int layer) const {
  return {Rows(keys_[layer]), Rows(values_[layer])};
}

// Blocks of tiles [blocks, elements] without their scales, and the scales as [blocks, tokens of a
// block, kv_heads]; undefined where there are none.
std::pair<at::Tensor, at::Tensor> KvCache::Parts(const at::Tensor& blocks) const {
  if (!HoldsCodes(shape_)) return {blocks, at::Tensor()};
  const at::Tensor tiles = blocks.view({blocks.size(0), shape_.kv_heads, -1});
  const std::int64_t codes = tiles.size(2) - kScaleBytes;
  const at::Tensor scales = tiles.narrow(2, codes, kScaleBytes).contiguous().view(at::kFloat);
  return {tiles.narrow(2, 0, codes), scales.transpose(1, 2)};
}

std::pair<at::Tensor, at::Tensor> KvCache::Read(int layer,
                                                std::span<const std::int32_t> block_table,
                                                std::int64_t tokens) const {
  const std::int64_t count = (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  LLAVA_CHECK_LE(count, static_cast<std::int64_t>(block_table.size()));
  const std::vector<std::int64_t> table(block_table.begin(), block_table.begin() + count);
  const at::Tensor blocks = ToDevice(table, shape_.device);
  const at::Tensor k = Select(keys_[layer], blocks);
  const at::Tensor v = Select(values_[layer], blocks);
  const std::int64_t heads = shape_.kv_heads, dim = shape_.head_dim;
  const auto rows = [&](const at::Tensor& x_BTKD) {
    return x_BTKD.reshape({-1, heads, x_BTKD.size(-1)}).narrow(0, 0, tokens).narrow(2, 0, dim);
  };
  if (shape_.layout == KvLayout::kRows) {
    const auto natural = [&](const at::Tensor& x) {
      const at::Tensor found = rows(x.view({count, kKvBlockTokens, heads, dim}));
      return HoldsE4m3(shape_) ? found.to(at::kFloat) : found;
    };
    return {natural(k), natural(v)};
  }
  const auto [k_codes, k_scales_BTK] = Parts(k);
  const auto [v_codes, v_scales_BTK] = Parts(v);
  // A word of a tile holds so many numbers of one token's key, or of one dimension of the values.
  const std::int64_t in_word = 4 / static_cast<std::int64_t>(c10::elementSize(shape_.dtype));
  const std::int64_t padded = PaddedHeadDim(shape_.head_dim);
  const at::Tensor k_BKdTp =
      k_codes.reshape({count, heads, dim / in_word, kKvBlockTokens, in_word});
  const at::Tensor v_BKtDp =
      v_codes.reshape({count, heads, kKvBlockTokens / in_word, padded, in_word});
  const at::Tensor k_BTKD = k_BKdTp.permute({0, 3, 1, 2, 4}).flatten(3, 4);
  const at::Tensor v_BTKD =
      v_BKtDp.permute({0, 2, 4, 1, 3}).flatten(1, 2).view({count, kKvBlockTokens, heads, padded});
  if (!HoldsCodes(shape_)) return {rows(k_BTKD), rows(v_BTKD)};
  return {rows(k_BTKD * k_scales_BTK.unsqueeze(3)), rows(v_BTKD * v_scales_BTK.unsqueeze(3))};
}

void KvCache::CopyBlock(int from, int to) {
  for (std::vector<at::Tensor>* side : {&keys_, &values_}) {
    for (const at::Tensor& layer : *side) layer[to].copy_(layer[from]);
  }
}

}  // namespace llava::model
