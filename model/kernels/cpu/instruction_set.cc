// The kernels as one instruction set has them: compiled once for each (CMakeLists.txt).
#include "model/kernels/cpu/table.h"

#define LLAVA_TEXT_OF(name) #name
#define LLAVA_TEXT(name) LLAVA_TEXT_OF(name)

namespace llava::model::LLAVA_ISA {

const KernelTable& Table() {
  static constexpr KernelTable kTable = MakeTable(LLAVA_TEXT(LLAVA_ISA));
  return kTable;
}

}  // namespace llava::model::LLAVA_ISA
