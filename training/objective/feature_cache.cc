#include "training/objective/feature_cache.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "base/check.h"

namespace llava::training {

at::Tensor PixelTensor(const std::vector<const SampleImage*>& pictures, const model::Llava& model) {
  LLAVA_CHECK(!pictures.empty());
  const SampleImage& first = *pictures.front();
  at::Tensor pixels = at::empty(
      {static_cast<std::int64_t>(pictures.size()), 3, first.height, first.width}, at::kFloat);
  float* values = pixels.mutable_data_ptr<float>();
  for (const SampleImage* picture : pictures) {
    LLAVA_CHECK_EQ(picture->pixels.size(), first.pixels.size());
    values = std::copy(picture->pixels.begin(), picture->pixels.end(), values);
  }
  return pixels.to(model.device(), model.dtype());
}

at::Tensor FeatureCache::Compute(const SampleImage& picture) const {
  return model_.vision_tower().Forward(PixelTensor({&picture}, model_)).squeeze(0);
}

at::Tensor FeatureCache::Get(const std::vector<const SampleImage*>& pictures) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> features;
  for (const SampleImage* picture : pictures) {
    const auto found = features_.find(picture->digest);
    if (found != features_.end()) {
      features.push_back(found->second);
      continue;
    }
    features.push_back(Compute(*picture));
    const auto bytes = static_cast<std::int64_t>(features.back().nbytes());
    if (bytes_ + bytes > max_bytes_) continue;
    bytes_ += bytes;
    features_.emplace(picture->digest, features.back());
  }
  return at::cat(features);
}

}  // namespace llava::training
