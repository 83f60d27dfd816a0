// Features of images from a frozen vision tower, kept over the epochs: the tower then runs once a
// image instead of once a step.
#ifndef LLAVA_TRAINING_OBJECTIVE_FEATURE_CACHE_H_
#define LLAVA_TRAINING_OBJECTIVE_FEATURE_CACHE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <vector>

#include "base/digest.h"
#include "model/network/llava.h"
#include "training/data/sample.h"

namespace llava::training {

// Used by the training thread. The model outlives it; its tower must not change meanwhile.
class FeatureCache {
 public:
  static constexpr std::int64_t kStageBytes = std::int64_t{2} << 30;  // at most, of a stage

  // Once `max_bytes` are kept, further images are computed each time.
  FeatureCache(const model::Llava& model, std::int64_t max_bytes)
      : model_(model), max_bytes_(max_bytes) {}

  // [tiles of all images in order, features of a tile, tower width], without gradients. Images are
  // computed one by one, so that an image's features do not depend on its company: a resumed run,
  // whose cache is empty, gets the same bits.
  at::Tensor Get(const std::vector<const SampleImage*>& images);

  std::int64_t bytes() const { return bytes_; }

 private:
  at::Tensor Compute(const SampleImage& image) const;

  const model::Llava& model_;
  const std::int64_t max_bytes_;
  std::int64_t bytes_ = 0;
  std::map<Digest, at::Tensor> features_;
};

// [tiles of all images, 3, height, width] in the model's dtype and on its device.
at::Tensor PixelTensor(const std::vector<const SampleImage*>& images, const model::Llava& model);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_FEATURE_CACHE_H_
