// The kernels compiled with the flags of this instruction set (CMakeLists.txt).
#include "model/kernels/cpu/table.h"

namespace llava::model {

const KernelTable& AvxVnniKernels() {
  static constexpr KernelTable kTable = avxvnni::MakeTable("avxvnni");
  return kTable;
}

}  // namespace llava::model
