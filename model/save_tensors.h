// Tensors to safetensors files.
#ifndef LLAVA_MODEL_SAVE_TENSORS_H_
#define LLAVA_MODEL_SAVE_TENSORS_H_

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

using NamedTensor = std::pair<std::string, at::Tensor>;

// Writes one file in the order given; any device and layout, one tensor at a time is copied.
// UNIMPLEMENTED for an element type that the format does not have.
absl::Status SaveTensors(const std::string& path, const std::vector<NamedTensor>& tensors);

// The same, every tensor converted to `dtype`.
absl::Status SaveTensorsAs(const std::string& path, const std::vector<NamedTensor>& tensors,
                           at::ScalarType dtype);

absl::StatusOr<DType> DTypeOf(at::ScalarType type);

}  // namespace llava::model

#endif  // LLAVA_MODEL_SAVE_TENSORS_H_
