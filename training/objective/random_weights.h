// Weights of a model that has not learned anything yet: what training from scratch begins with.
#ifndef LLAVA_TRAINING_OBJECTIVE_RANDOM_WEIGHTS_H_
#define LLAVA_TRAINING_OBJECTIVE_RANDOM_WEIGHTS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/network/weights.h"

namespace llava::training {

// Norm weights are 1 and biases 0. Matrices are normal with deviation 1/sqrt(inputs), times 0.3 for
// the projections that write into the residual stream; the words' embeddings have 0.3, position and
// class tables 0.02 (CLIP), the end of a picture's rows 1/sqrt(width). Each tensor depends on the
// seed and its name only.
class RandomWeights final : public model::WeightSource {
 public:
  RandomWeights(std::uint64_t seed, at::ScalarType dtype, at::Device device)
      : seed_(seed), dtype_(dtype), device_(device) {}

  at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) override;

 private:
  at::Tensor Make(const std::string& name, const std::vector<std::int64_t>& shape) const;

  const std::uint64_t seed_;
  const at::ScalarType dtype_;
  const at::Device device_;
};

// Normal with the given deviation, fp32, from the seed and the name.
at::Tensor RandomNormal(const std::vector<std::int64_t>& shape, double deviation,
                        std::uint64_t seed, const std::string& name);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_RANDOM_WEIGHTS_H_
