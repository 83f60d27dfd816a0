#include "training/objective/embedding_noise.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

namespace llava::training {

at::Tensor WithNoise(const at::Tensor& embeddings_TE, const at::Tensor& lengths_T, double alpha,
                     std::uint64_t seed) {
  const auto width = embeddings_TE.size(1);
  const at::Tensor noise_TE = at::empty(embeddings_TE.sizes(), at::kFloat)
                                  .uniform_(-1.0, 1.0, at::detail::createCPUGenerator(seed));
  const at::Tensor scale_T = alpha * (lengths_T * width).rsqrt();
  return embeddings_TE + (noise_TE * scale_T.unsqueeze(1)).to(embeddings_TE.options());
}

}  // namespace llava::training
