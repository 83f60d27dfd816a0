// The kernels compiled with the flags of this instruction set (CMakeLists.txt).
#include "model/kernels/cpu/table.h"

namespace llava::model {

const KernelTable& Avx512VnniKernels() {
  static constexpr KernelTable kTable = avx512vnni::MakeTable("avx512vnni");
  return kTable;
}

}  // namespace llava::model
