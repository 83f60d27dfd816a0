// The kernels compiled with the flags of this instruction set (CMakeLists.txt).
#include "model/kernels/cpu/table.h"

namespace llava::model {

const KernelTable& NeonKernels() {
  static constexpr KernelTable kTable = neon::MakeTable("neon");
  return kTable;
}

}  // namespace llava::model
