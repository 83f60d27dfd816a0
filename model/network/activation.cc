#include "model/network/activation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/hardswish.h>
#include <ATen/ops/hardtanh.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh.h>

#include "base/check.h"
#include "model/network/rows.h"

namespace llava::model {

at::Tensor Activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kQuickGelu:
      if (HasRowKernels(x) && !at::GradMode::is_enabled()) return QuickGeluRows(x);
      return x * at::sigmoid(x * 1.702);
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kRelu6:
      return at::hardtanh(x, 0, 6);
    case Activation::kLeakyRelu:
      return at::leaky_relu(x);
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kHardSwish:
      return at::hardswish(x);
    case Activation::kMish:
      return at::mish(x);
    case Activation::kSigmoid:
      return at::sigmoid(x);
    case Activation::kTanh:
      return at::tanh(x);
    case Activation::kIdentity:
      return x;
  }
  LLAVA_CHECK(false);
}

}  // namespace llava::model
