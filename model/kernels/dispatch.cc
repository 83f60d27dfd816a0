#include "model/kernels/dispatch.h"

namespace llava::model {
namespace {

const KernelTable& Choose() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Avx512Kernels();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2Kernels();
  return BaselineKernels();
}

}  // namespace

const KernelTable& Kernels() {
  static const KernelTable& chosen = Choose();
  return chosen;
}

bool CpuHasBf16Products() { return __builtin_cpu_supports("avx512bf16"); }

}  // namespace llava::model
