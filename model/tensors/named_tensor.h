// A parameter and the name it has in a checkpoint.
#ifndef LLAVA_MODEL_TENSORS_NAMED_TENSOR_H_
#define LLAVA_MODEL_TENSORS_NAMED_TENSOR_H_

#include <ATen/core/Tensor.h>

#include <string>

namespace llava::model {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TENSORS_NAMED_TENSOR_H_
