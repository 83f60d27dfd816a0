// Named tensors in one safetensors file.
#ifndef LLAVA_TRAINING_RUN_TENSOR_FILE_H_
#define LLAVA_TRAINING_RUN_TENSOR_FILE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "training/run/named_tensor.h"

namespace llava::training {

// Durable when it returns. fp32, bf16, fp16 and int64 tensors of any device; names must differ.
absl::Status WriteTensorFile(const std::string& path, const std::vector<NamedTensor>& tensors);

// All tensors of a file, on the CPU, in memory of their own. The errors of ParseSafetensors.
absl::StatusOr<std::vector<NamedTensor>> ReadTensorFile(const std::string& path);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_TENSOR_FILE_H_
