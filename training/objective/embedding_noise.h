// NEFTune: noise on the embeddings of texts while a model is fine-tuned, so that it keeps less of
// the wording of its training data (arXiv 2310.05914, algorithm 1).
#ifndef LLAVA_TRAINING_OBJECTIVE_EMBEDDING_NOISE_H_
#define LLAVA_TRAINING_OBJECTIVE_EMBEDDING_NOISE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace llava::training {

// embeddings_TE with noise added that is uniform in +-alpha / sqrt(L E), L being a token's entry of
// lengths_T (fp32, on the CPU): the tokens of its sample. The noise depends on the seed and the
// shape alone, whatever the device. Differentiable.
at::Tensor WithNoise(const at::Tensor& embeddings_TE, const at::Tensor& lengths_T, double alpha,
                     std::uint64_t seed);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_EMBEDDING_NOISE_H_
