// A parameter and the name it has in a checkpoint.
#ifndef LLAVA_TRAINING_RUN_NAMED_TENSOR_H_
#define LLAVA_TRAINING_RUN_NAMED_TENSOR_H_

#include <ATen/core/Tensor.h>

#include <string>

namespace llava::training {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_NAMED_TENSOR_H_
