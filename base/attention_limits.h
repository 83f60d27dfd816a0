// What the scheduler, the KV cache, the attention kernels of every device and the reader of
// config.json agree on. Included by CUDA sources too: constants only.
#ifndef LLAVA_BASE_ATTENTION_LIMITS_H_
#define LLAVA_BASE_ATTENTION_LIMITS_H_

namespace llava {

// Tokens of one KV block. The scheduler counts and names blocks of this size, block tables map
// positions to them, and the kernels lay out their tiles by it: 16 fp32 scores are one AVX-512
// register, and a bf16 block of a head of 128 is 4 KiB.
inline constexpr int kKvBlockTokens = 16;
static_assert((kKvBlockTokens & (kKvBlockTokens - 1)) == 0, "kernels shift and mask by it");

// The largest size of an attention head of the decoder. The kernels hold a query row and its sums
// on the stack (CPU) or in the registers of one warp (CUDA); no Llama or Mistral has more than 256.
inline constexpr int kMaxHeadDim = 256;

}  // namespace llava

#endif  // LLAVA_BASE_ATTENTION_LIMITS_H_
