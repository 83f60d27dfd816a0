// Looks for NaN and infinity in stored tensors, at the speed of memory.
#ifndef LLAVA_MODEL_FINITE_H_
#define LLAVA_MODEL_FINITE_H_

#include <cstdint>

#include "model/stored_tensor.h"

namespace llava::model {

// How many of the stored elements are NaN or infinite, and the place of the first of them in the
// order of the bytes (-1: none). Integers are always finite. A strided tensor is searched with what
// lies between its elements.
struct NonFinite {
  std::int64_t count = 0;
  std::int64_t first = -1;
};
NonFinite FindNonFinite(const StoredTensor& tensor);

}  // namespace llava::model

#endif  // LLAVA_MODEL_FINITE_H_
