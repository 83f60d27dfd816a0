// LibTorch's element types for those of weight files, and back.
#ifndef LLAVA_MODEL_TENSORS_ELEMENT_TYPE_H_
#define LLAVA_MODEL_TENSORS_ELEMENT_TYPE_H_

#include <c10/core/ScalarType.h>

#include "absl/status/statusor.h"
#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

// UNIMPLEMENTED for what LibTorch's tensors do not hold.
absl::StatusOr<at::ScalarType> ScalarTypeOf(DType dtype);

// UNIMPLEMENTED for what safetensors files do not hold.
absl::StatusOr<DType> DTypeOf(at::ScalarType type);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TENSORS_ELEMENT_TYPE_H_
