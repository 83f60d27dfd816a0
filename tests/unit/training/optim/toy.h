// A LLaVA so small that a training step takes a millisecond, and questions that it can learn.
#ifndef LLAVA_TESTS_UNIT_TRAINING_OPTIM_TOY_H_
#define LLAVA_TESTS_UNIT_TRAINING_OPTIM_TOY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "model/config/config.h"
#include "model/network/llava.h"
#include "training/data/collator.h"
#include "training/objective/random_weights.h"

namespace llava::training::toy {

inline constexpr int kImageToken = 31;

inline model::LlavaConfig Config() {
  model::LlavaConfig config;
  config.vision = {.hidden_size = 16,
                   .intermediate_size = 32,
                   .num_layers = 2,
                   .num_heads = 2,
                   .image_size = 8,
                   .patch_size = 4};
  config.text.vocab_size = 32;
  config.text.hidden_size = 16;
  config.text.intermediate_size = 32;
  config.text.num_layers = 2;
  config.text.num_heads = 2;
  config.text.num_kv_heads = 1;
  config.text.head_dim = 8;
  config.text.max_positions = 64;
  config.feature_layers = {-1};
  config.image_token_id = kImageToken;
  return config;
}

inline std::unique_ptr<model::Llava> Model(at::ScalarType dtype = at::kFloat) {
  RandomWeights weights(3, dtype, at::kCPU);
  return std::make_unique<model::Llava>(Config(), weights);
}

// Pixels for the image's tiles, height and width: normal numbers.
inline void FillPixels(Rng& rng, double mean, double deviation, SampleImage* image) {
  auto table = std::make_shared<PixelTable>();
  for (auto& channel : *table) {
    for (float& value : channel) value = static_cast<float>(mean + deviation * rng.Normal());
  }
  image->table = std::move(table);
  image->pixels.resize(
      static_cast<std::size_t>(image->layout.tiles * 3 * image->height * image->width));
  for (std::uint8_t& byte : image->pixels) byte = static_cast<std::uint8_t>(rng.Next());
}

// Sample `number`: BOS, an image of 4 rows that is dark or bright, a question token, and as the
// answer token 20 or 21.
inline Sample MakeSample(std::int64_t number) {
  Rng rng(static_cast<std::uint64_t>(number) + 100);
  const bool bright = rng.Chance(0.5);
  Sample sample;
  sample.id = "sample-" + std::to_string(number);
  sample.ids = {1,
                kImageToken,
                kImageToken,
                kImageToken,
                kImageToken,
                static_cast<std::int32_t>(5 + rng.Below(4)),
                bright ? 21 : 20,
                2};
  sample.labels.assign(sample.ids.size(), kIgnoreLabel);
  sample.labels[6] = sample.ids[6];
  sample.labels[7] = sample.ids[7];
  sample.image_spans = {{1, 4, 0}};
  SampleImage image;
  image.height = image.width = 8;
  image.digest = Sha256Of(sample.id);
  image.layout = {.tiles = 1, .tokens = 4};
  FillPixels(rng, bright ? 1.0 : -1.0, 0.3, &image);
  sample.images = {image};
  return sample;
}

// Samples first, first + 1, ... first + count - 1.
inline Batch MakeBatch(std::int64_t first, std::int64_t count) {
  std::vector<Sample> samples;
  for (std::int64_t i = 0; i < count; ++i) samples.push_back(MakeSample(first + i));
  return Collate(std::move(samples));
}

}  // namespace llava::training::toy

#endif  // LLAVA_TESTS_UNIT_TRAINING_OPTIM_TOY_H_
