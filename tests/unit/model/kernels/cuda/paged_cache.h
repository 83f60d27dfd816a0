// What kernels of attention read.
#ifndef LLAVA_TESTS_UNIT_MODEL_KERNELS_CUDA_PAGED_CACHE_H_
#define LLAVA_TESTS_UNIT_MODEL_KERNELS_CUDA_PAGED_CACHE_H_

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "base/attention_limits.h"
#include "base/rng.h"

namespace llava::model::cuda {

// A cache with random keys and values of some sequences in blocks of random order, and NaN
// elsewhere.
struct PagedCache {
  PagedCache(const std::vector<std::int32_t>& lengths, std::int64_t kv_heads, std::int64_t head_dim,
             at::ScalarType dtype, Rng& rng) {
    std::int64_t blocks = 3;
    for (const std::int64_t length : lengths) {
      const std::int64_t used = (length + kKvBlockTokens - 1) / kKvBlockTokens;
      widest = std::max(widest, used);
      blocks += used;
    }
    std::vector<std::int32_t> free(static_cast<std::size_t>(blocks));
    for (std::size_t i = 0; i < free.size(); ++i) free[i] = static_cast<std::int32_t>(i);
    rng.Shuffle(free);
    keys = at::full({blocks * kKvBlockTokens, kv_heads, head_dim},
                    std::numeric_limits<double>::quiet_NaN(), at::dtype(dtype));
    values = keys.clone();
    for (const std::int64_t length : lengths) {
      std::vector<std::int64_t> slots;
      for (std::int64_t token = 0; token < length; ++token) {
        if (token % kKvBlockTokens == 0) {
          table.push_back(free.back());
          free.pop_back();
        }
        slots.push_back(std::int64_t{table.back()} * kKvBlockTokens + token % kKvBlockTokens);
      }
      table.resize((sequences.size() + 1) * static_cast<std::size_t>(widest), kNoBlock);
      const at::Tensor index = at::tensor(slots);
      const auto random = [&] { return at::randn({length, kv_heads, head_dim}).to(dtype); };
      sequences.emplace_back(random(), random());
      const auto write = [&](const at::Tensor& to, const at::Tensor& from) {
        const bool are_bytes = dtype == at::kFloat8_e4m3fn;  // ATen has no index_copy_ for it
        (are_bytes ? to.view(at::kByte) : to)
            .index_copy_(0, index, are_bytes ? from.view(at::kByte) : from);
      };
      write(keys, sequences.back().first);
      write(values, sequences.back().second);
    }
  }

  static constexpr std::int32_t kNoBlock = 1 << 30;  // far outside: nobody survives reading there

  std::int64_t widest = 0;
  std::vector<std::int32_t> table;                           // [sequences, widest]
  at::Tensor keys, values;                                   // [slots, kv_heads, head_dim]
  std::vector<std::pair<at::Tensor, at::Tensor>> sequences;  // the same of each, in order
};

}  // namespace llava::model::cuda

#endif  // LLAVA_TESTS_UNIT_MODEL_KERNELS_CUDA_PAGED_CACHE_H_
