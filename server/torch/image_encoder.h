// The images that an executor has encoded or half encoded.
#ifndef LLAVA_SERVER_TORCH_IMAGE_ENCODER_H_
#define LLAVA_SERVER_TORCH_IMAGE_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "model/attention/to_device.h"
#include "model/network/llava.h"
#include "server/scheduling/plan.h"

namespace llava::engine {

// Engine thread only. An image that takes several steps is kept between two of them as the
// projected features of its finished tiles and the hidden state of the one that is begun; a
// scheduler has at most scheduling::kMaxUnfinishedImages of those.
class ImageEncoder {
 public:
  // `pixels`: of the device of the models; for bytes.
  explicit ImageEncoder(model::StepBuffer pixels) : pixels_(std::move(pixels)) {}

  // What a step can cut a picture's tile into: the blocks of its tower, and the projector.
  static int Parts(const model::Llava& llava);

  using Features = std::function<at::Tensor(const at::Tensor& pixels)>;
  // Runs `features`, which may be kept as long as the model is there, on the pixels of whole tiles.
  // Its result is copied before it is called again.
  using RunTiles = std::function<at::Tensor(const at::Tensor& pixels, const Features& features)>;

  // Slices as StepPlan::encodes describes them, of one version. Under c10::InferenceMode. INTERNAL
  // when an image was prepared otherwise than the model takes it. Throws c10::Error when memory or
  // the device fails. `run`: for whole tiles, in the place of a plain call.
  absl::Status Encode(std::span<const scheduling::EncodeImage> encodes, const model::Llava& llava,
                      const RunTiles& run = nullptr);

  // Unknown ids are skipped.
  void Drop(std::span<const scheduling::FeatureId> features);

  // Of an image that is encoded: [count, E].
  const at::Tensor& feature(scheduling::FeatureId feature) const { return features_.at(feature); }

  std::size_t unfinished() const { return unfinished_.size(); }

 private:
  struct Unfinished {
    std::vector<at::Tensor> tiles_BIE;  // projected
    model::VisionTower::Pass pass;      // of the tile that is begun
  };

  // The pixels of all tiles of the slices, on the device, in the tower's dtype: [tiles, 3, side,
  // side]. They go there as bytes, a quarter of what they are.
  at::Tensor PixelsOf(std::span<const scheduling::EncodeImage> encodes,
                      const model::VisionTower& tower);
  // The whole tiles at the beginning, as one batch; the rest of the slices.
  std::span<const scheduling::EncodeImage> EncodeTiles(
      std::span<const scheduling::EncodeImage> encodes, const model::Llava& llava,
      const RunTiles& run);
  void EncodeParts(const scheduling::EncodeImage& encode, const model::Llava& llava);
  void AddTiles(const scheduling::EncodeImage& encode, at::Tensor tiles_BIE,
                const model::Llava& llava);

  model::StepBuffer pixels_;
  std::unordered_map<scheduling::FeatureId, at::Tensor> features_;  // [count, E]
  std::unordered_map<scheduling::FeatureId, Unfinished> unfinished_;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_IMAGE_ENCODER_H_
