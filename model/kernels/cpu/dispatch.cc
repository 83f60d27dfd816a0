#include "model/kernels/cpu/dispatch.h"

#include <vector>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

// Of instruction_set.cc.
#define LLAVA_INSTRUCTION_SET(name) \
  namespace llava::model::name {    \
  const KernelTable& Table();       \
  } /* namespace llava::model::name */

LLAVA_INSTRUCTION_SET(baseline)
#if defined(__aarch64__)
LLAVA_INSTRUCTION_SET(neon)
#else
LLAVA_INSTRUCTION_SET(avx2)
LLAVA_INSTRUCTION_SET(avxvnni)
LLAVA_INSTRUCTION_SET(avx512)
LLAVA_INSTRUCTION_SET(avx512vnni)
#endif

namespace llava::model {

const KernelTable& BaselineKernels() { return baseline::Table(); }

#if defined(__aarch64__)

std::vector<const KernelTable*> SupportedKernels() {
  std::vector<const KernelTable*> tables = {&baseline::Table()};
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) tables.push_back(&neon::Table());
  return tables;
}

#else

std::vector<const KernelTable*> SupportedKernels() {
  std::vector<const KernelTable*> tables = {&baseline::Table()};
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return tables;
  tables.push_back(&avx2::Table());
  if (__builtin_cpu_supports("avxvnni")) tables.push_back(&avxvnni::Table());
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return tables;
  }
  tables.push_back(&avx512::Table());
  if (__builtin_cpu_supports("avx512vnni")) tables.push_back(&avx512vnni::Table());
  return tables;
}

#endif

const KernelTable& Kernels() {
  static const KernelTable& best = *SupportedKernels().back();
  return best;
}

}  // namespace llava::model
