// The activation functions that configurations name.
#ifndef LLAVA_MODEL_NETWORK_ACTIVATION_H_
#define LLAVA_MODEL_NETWORK_ACTIVATION_H_

#include <ATen/core/Tensor.h>

#include "model/config/config.h"

namespace llava::model {

// Differentiable; any shape and floating dtype.
at::Tensor Activate(Activation activation, const at::Tensor& x);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_ACTIVATION_H_
