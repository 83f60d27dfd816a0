// Keys and values of all layers in blocks of kKvBlockTokens tokens, allocated once.
#ifndef LLAVA_MODEL_ATTENTION_KV_CACHE_H_
#define LLAVA_MODEL_ATTENTION_KV_CACHE_H_

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/attention_limits.h"

namespace llava::model {

enum class KvLayout {
  kTiles,  // of kernels/cpu/dispatch.h: for PagedCpuAttention; CPU only
  kRows,   // [block, token, head, head_dim]: for PagedAtenAttention, on any device
};

struct KvShape {
  int layers = 0;
  int kv_heads = 0;
  int head_dim = 0;  // even, at most kMaxHeadDim
  // Or kBFloat16; or kChar: codes with a scale for each token and head, for kTiles and a head_dim
  // that is a multiple of 4; or kFloat8_e4m3fn: rounded and saturated (kernels/cuda/e4m3.h),
  // without a scale, for kRows and a head_dim that is a multiple of 8.
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  KvLayout layout = KvLayout::kTiles;
  // TextConfig::windows: of each layer, how many of the last keys a token sees, 0: all. Empty: all
  // in every layer. All keys are kept.
  std::vector<int> windows = {};

  int WindowOf(int layer) const {
    return windows.empty() ? 0 : windows.at(static_cast<std::size_t>(layer));
  }
  bool operator==(const KvShape&) const = default;
};

// Which block holds what is the business of the scheduler: here a block is a number. Not
// thread-safe.
class KvCache {
 public:
  // Bytes that one block takes in all layers together.
  static std::int64_t BlockBytes(const KvShape& shape);

  // INVALID_ARGUMENT for a shape that the kernels do not take or a budget under one block;
  // RESOURCE_EXHAUSTED when the memory cannot be had. CPU pages are touched as blocks are first
  // used.
  static absl::StatusOr<KvCache> Create(const KvShape& shape, std::int64_t budget_bytes);

  const KvShape& shape() const { return shape_; }
  int blocks() const { return blocks_; }

  // The tokens' keys and values, [T, kv_heads, head_dim] in fp32 or bf16, go to slots_T: slot s is
  // token s % kKvBlockTokens of block s / kKvBlockTokens. Last dimension contiguous.
  void Write(int layer, const at::Tensor& k_TKD, const at::Tensor& v_TKD,
             std::span<const std::int64_t> slots_T);

  // The same for KvLayout::kRows with slots_T as an int64 tensor on the cache's device. Its values
  // are not checked, so that nothing waits for the device.
  void WriteRows(int layer, const at::Tensor& k_TKD, const at::Tensor& v_TKD,
                 const at::Tensor& slots_T);
  // All keys and values, each [slots, kv_heads, head_dim]: views, kRows only.
  std::pair<at::Tensor, at::Tensor> Rows(int layer) const;
  // x rounded as kRows holds it, in the dtype of the cache.
  at::Tensor Held(const at::Tensor& x) const;
  // Index_select of the first dimension, of any dtype that a cache has.
  static at::Tensor Select(const at::Tensor& rows, const at::Tensor& index);

  // Keys and values of the first `tokens` tokens of a block table, each [tokens, kv_heads,
  // head_dim] in the dtype of the cache; codes and e4m3 as the fp32 numbers that they stand for.
  // Copies: for tests.
  std::pair<at::Tensor, at::Tensor> Read(int layer, std::span<const std::int32_t> block_table,
                                         std::int64_t tokens) const;

  // All layers of block `from`, to block `to`: copy-on-write.
  void CopyBlock(int from, int to);

  // The memory of a layer's tiles, for the kernels (AttentionArgs).
  const char* keys(int layer) const { return static_cast<char*>(keys_[layer].data_ptr()); }
  const char* values(int layer) const { return static_cast<char*>(values_[layer].data_ptr()); }
  std::int64_t key_tile_bytes() const;
  std::int64_t value_tile_bytes() const;

 private:
  KvCache(const KvShape& shape, int blocks);
  at::Tensor Rows(const at::Tensor& blocks) const;
  std::pair<at::Tensor, at::Tensor> Parts(const at::Tensor& blocks) const;

  KvShape shape_;
  int blocks_ = 0;
  std::vector<at::Tensor> keys_, values_;  // of each layer: [blocks, elements of a block]
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ATTENTION_KV_CACHE_H_
