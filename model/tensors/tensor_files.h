// Named tensors to safetensors files and back.
#ifndef LLAVA_MODEL_TENSORS_TENSOR_FILES_H_
#define LLAVA_MODEL_TENSORS_TENSOR_FILES_H_

#include <c10/core/ScalarType.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tensors/named_tensor.h"

namespace llava::model {

// Writes one file, durably, in the order given; any device and layout, one tensor at a time is
// copied. UNIMPLEMENTED for an element type that the format does not have.
absl::Status SaveTensors(const std::string& path, const std::vector<NamedTensor>& tensors);

// The same, every tensor converted to `dtype`.
absl::Status SaveTensorsAs(const std::string& path, const std::vector<NamedTensor>& tensors,
                           at::ScalarType dtype);

// All tensors of a file, on the CPU, in memory of their own. The errors of ReadSafetensors and
// of ScalarTypeOf.
absl::StatusOr<std::vector<NamedTensor>> LoadTensors(const std::string& path);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TENSORS_TENSOR_FILES_H_
