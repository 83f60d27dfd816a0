// NEFTune: noise on the embeddings of texts while a model is fine-tuned, so that it keeps less of
// the wording of its training data (arXiv 2310.05914, algorithm 1).
#ifndef LLAVA_TRAINING_OBJECTIVE_EMBEDDING_NOISE_H_
#define LLAVA_TRAINING_OBJECTIVE_EMBEDDING_NOISE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "training/objective/packed_batch.h"

namespace llava::training {

// embeddings_TE with noise added that is uniform in +-alpha / sqrt(L E), L being the tokens of a
// token's sample. The noise of a sample depends on the seed and its key alone, not on the device,
// nor on what it is packed with: on any number of ranks, and with passes of any size, it is the
// same. Differentiable. REQUIRES: the runs have T tokens together, at least 1.
at::Tensor WithNoise(const at::Tensor& embeddings_TE, const std::vector<SampleRun>& runs,
                     double alpha, std::uint64_t seed);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_EMBEDDING_NOISE_H_
