// Gradient checkpointing (Chen et al., arXiv 1604.06174): memory for time.
#ifndef LLAVA_MODEL_NETWORK_RECOMPUTE_H_
#define LLAVA_MODEL_NETWORK_RECOMPUTE_H_

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

namespace llava::model {

// f(x), of which nothing but x is kept for the backward pass: f runs once more there, and must give
// the same. Gradients reach x and every weight that f reads. What f refers to must live until then.
// `hold` is called before f runs, either time; what it returns lives until f, and the second time
// the gradients of f, have been computed.
at::Tensor Recomputed(std::function<at::Tensor(const at::Tensor&)> f, const at::Tensor& x,
                      std::function<std::shared_ptr<const void>()> hold);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_RECOMPUTE_H_
