// The kernels compiled with the flags of this instruction set (CMakeLists.txt).
#include "model/kernels/cpu/table.h"

namespace llava::model {

const KernelTable& BaselineKernels() {
  static constexpr KernelTable kTable = baseline::MakeTable("baseline");
  return kTable;
}

}  // namespace llava::model
