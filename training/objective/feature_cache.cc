#include "training/objective/feature_cache.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include "base/check.h"
#include "base/picture.h"

namespace llava::training {

at::Tensor PixelTensor(const std::vector<const SampleImage*>& images, const model::Llava& model) {
  LLAVA_CHECK(!images.empty());
  const SampleImage& first = *images.front();
  std::int64_t tiles = 0;
  for (const SampleImage* image : images) tiles += image->layout.tiles;
  at::Tensor pixels = at::empty({tiles, 3, first.height, first.width}, at::kFloat);
  const std::int64_t tile_values = std::int64_t{3} * first.height * first.width;
  float* values = pixels.mutable_data_ptr<float>();
  for (const SampleImage* image : images) {
    LLAVA_CHECK_EQ(std::ssize(image->pixels), image->layout.tiles * tile_values);
    LLAVA_CHECK(image->table != nullptr);
    LookUpPixels(image->pixels, static_cast<std::size_t>(tile_values / 3), *image->table, values);
    values += image->pixels.size();
  }
  return pixels.to(model.device(), model.dtype());
}

at::Tensor FeatureCache::Compute(const SampleImage& image) const {
  return model_.vision_tower().Forward(PixelTensor({&image}, model_));
}

at::Tensor FeatureCache::Get(const std::vector<const SampleImage*>& images) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> features;
  for (const SampleImage* image : images) {
    const auto found = features_.find(image->digest);
    if (found != features_.end()) {
      features.push_back(found->second);
      continue;
    }
    features.push_back(Compute(*image));
    const auto bytes = static_cast<std::int64_t>(features.back().nbytes());
    if (bytes_ + bytes > max_bytes_) continue;
    bytes_ += bytes;
    features_.emplace(image->digest, features.back());
  }
  return at::cat(features);
}

}  // namespace llava::training
