// What a step of LLaVA takes on one NVIDIA H200, in a model instead of on a machine: a roofline of
// products, cached keys and values, prompts and element-wise work, bounded by the launches of
// kernels, with the host's part and the vision tower on top. Its seven constants were fitted to six
// measured rows of docs/benchmarks.md ("On a GPU"): throughput within 2 % for the 7 B model.
#ifndef LLAVA_TESTS_BENCH_FLEET_VIRTUAL_GPU_H_
#define LLAVA_TESTS_BENCH_FLEET_VIRTUAL_GPU_H_

#include <cstdint>
#include <span>

#include "base/clock.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/planner.h"

namespace llava::fleet {

// The decoder of LLaVA, in elements.
struct ModelShape {
  int layers = 32;
  int hidden = 4096;
  int heads = 32;
  int kv_heads = 32;
  int head_dim = 128;
  int ffn = 11008;
  int vocabulary = 32064;
  int picture_tokens = 576;

  // LLaVA-1.5-7B and -13B.
  static ModelShape SevenB() { return {}; }
  static ModelShape ThirteenB() {
    return {.layers = 40, .hidden = 5120, .heads = 40, .kv_heads = 40, .ffn = 13824};
  }
  // Keys and values in bfloat16.
  std::int64_t BytesPerToken() const { return std::int64_t{4} * layers * kv_heads * head_dim; }
};

// The time of one step, pictures and host included, with weights in bfloat16.
Duration StepTime(const ModelShape& shape, const scheduling::StepPlan& plan,
                  std::span<const scheduling::PlannedChunk> chunks);

// From a client's call to the queue of a replica: network, decoding and preparing a picture.
inline constexpr Duration kBeforeQueue = std::chrono::milliseconds(7);

}  // namespace llava::fleet

#endif  // LLAVA_TESTS_BENCH_FLEET_VIRTUAL_GPU_H_
