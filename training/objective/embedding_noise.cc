#include "training/objective/embedding_noise.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <cmath>

namespace llava::training {

at::Tensor WithNoise(const at::Tensor& embeddings_TE, const std::vector<SampleRun>& runs,
                     double alpha, std::uint64_t seed) {
  const std::int64_t width = embeddings_TE.size(1);
  std::vector<at::Tensor> parts;
  for (const SampleRun& run : runs) {
    const double bound = alpha / std::sqrt(static_cast<double>(run.length * width));
    const at::Tensor drawn =
        at::empty({run.first + run.tokens, width}, at::kFloat)
            .uniform_(-bound, bound, at::detail::createCPUGenerator(seed ^ run.key));
    parts.push_back(drawn.narrow(0, run.first, run.tokens));
  }
  return embeddings_TE + at::cat(parts).to(embeddings_TE.options());
}

}  // namespace llava::training
