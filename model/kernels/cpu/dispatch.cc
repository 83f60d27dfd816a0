#include "model/kernels/cpu/dispatch.h"

#include <vector>

namespace llava::model {

std::vector<const KernelTable*> SupportedKernels() {
  std::vector<const KernelTable*> tables = {&BaselineKernels()};
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return tables;
  tables.push_back(&Avx2Kernels());
  if (__builtin_cpu_supports("avxvnni")) tables.push_back(&AvxVnniKernels());
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return tables;
  }
  tables.push_back(&Avx512Kernels());
  if (__builtin_cpu_supports("avx512vnni")) tables.push_back(&Avx512VnniKernels());
  return tables;
}

const KernelTable& Kernels() {
  static const KernelTable& best = *SupportedKernels().back();
  return best;
}

}  // namespace llava::model
