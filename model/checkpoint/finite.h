// Looks for NaN and infinity in stored tensors, at the speed of memory.
#ifndef LLAVA_MODEL_CHECKPOINT_FINITE_H_
#define LLAVA_MODEL_CHECKPOINT_FINITE_H_

#include <cstdint>
#include <string_view>

#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

// How many elements of `bytes` are NaN or infinite, and the place of the first of them (-1: none).
// Integers are always finite. Any alignment.
struct NonFinite {
  std::int64_t count = 0;
  std::int64_t first = -1;
};
NonFinite FindNonFinite(DType dtype, std::string_view bytes);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_FINITE_H_
