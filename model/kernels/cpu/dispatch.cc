#include "model/kernels/cpu/dispatch.h"

#include <vector>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace llava::model {

#if defined(__aarch64__)

std::vector<const KernelTable*> SupportedKernels() {
  std::vector<const KernelTable*> tables = {&BaselineKernels()};
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) tables.push_back(&NeonKernels());
  return tables;
}

#else

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

#endif

const KernelTable& Kernels() {
  static const KernelTable& best = *SupportedKernels().back();
  return best;
}

}  // namespace llava::model
