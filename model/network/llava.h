// LLaVA (Liu et al., arXiv 2304.08485 and 2310.03744): vision tower, projector and decoder with
// their weights. One definition for training, serving and the command line.
// Shape letters: B tiles of images, T tokens of a flattened batch, I tokens of a tile, E hidden
// size, V vocabulary.
#ifndef LLAVA_MODEL_NETWORK_LLAVA_H_
#define LLAVA_MODEL_NETWORK_LLAVA_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/attention/attention.h"
#include "model/config/config.h"
#include "model/config/image_layout.h"
#include "model/config/shard.h"
#include "model/network/decoder.h"
#include "model/network/projector.h"
#include "model/network/vision_tower.h"
#include "model/network/weights.h"

namespace llava::model {

struct LoadOptions {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  std::string vision_tower_dir =
      {};             // of checkpoints in the original layout; empty: as the config says
  bool pack = false;  // for serving: see WeightSource::pack; needs the weights' memory only once
  // Quantised tensor by tensor while reading, where they are not stored so: on CPUs, kFp8 (which is
  // slow there, to measure by) and on GPUs the decoder's layers alone. Without `pack` the decoder's
  // layers, on CPUs, which are then frozen: for training adapters.
  Quantization quantization = Quantization::kNone;
  bool verify = false;    // refuse NaN and infinite weights; reads all of them
  LayerShard shard = {};  // of the decoder's layers, with `pack`
  // An adapter (LorasOf) that becomes part of the weights, which must be stored as numbers.
  // REQUIRES: it fits (CheckFits).
  std::map<std::string, Lora> merged = {};
};

// INVALID_ARGUMENT where the weights are stored in another format of codes than is asked for.
absl::Status CheckQuantization(const std::string& directory, const LlavaConfig& config,
                               Quantization asked);

// Owned by whoever loaded it. Every method but Load is const and may run on several
// threads at once; none sets a grad mode: serving calls them under c10::InferenceMode, training
// does not. They throw c10::Error when memory or the device fails; arguments of a wrong shape are
// our bug.
class Llava {
 public:
  // Reads config.json and the weights of a checkpoint directory. The errors are those of
  // ReadConfig, Checkpoint::Open, CheckpointWeights, CheckQuantization and CheckShards;
  // UNIMPLEMENTED for codes of 4 bits on a GPU, FAILED_PRECONDITION for kFp8 on one that does not
  // multiply with it; INVALID_ARGUMENT for codes whose groups a shard would cut. Of several ranks
  // this is the first: the others have nothing but LoadLayers.
  static absl::StatusOr<std::unique_ptr<Llava>> Load(const std::string& directory,
                                                     const LoadOptions& options);
  // REQUIRES: `pack`, a shard whose rank is not 0.
  static absl::StatusOr<std::unique_ptr<DecoderLayers>> LoadLayers(const std::string& directory,
                                                                   const LoadOptions& options);

  // From any source of weights, for example random ones. The caller asks the source how it went.
  Llava(const LlavaConfig& config, WeightSource& source);

  const LlavaConfig& config() const { return config_; }
  const VisionTower& vision_tower() const { return vision_tower_; }
  const Projector& projector() const { return projector_; }
  const Decoder& decoder() const { return decoder_; }
  Decoder& decoder() { return decoder_; }  // for a trainer, while nobody else uses the model

  // The weights by their names (model/checkpoint/weight_names.h), but for those that are codes. The
  // handles are those that the modules hold: requires_grad_() and in-place updates act on the
  // model. Empty when packed.
  const std::map<std::string, at::Tensor>& weights() const { return weights_; }
  // Of the weights; where they are codes, as LoadOptions said.
  at::ScalarType dtype() const { return dtype_; }
  at::Device device() const { return device_; }
  Quantization quantization() const { return quantization_; }  // as held when packed

  // pixels: [B, 3, image_size, image_size] -> projected features [B, config().tile_tokens(), E].
  at::Tensor EncodeImages(const at::Tensor& pixels) const;

  // The features of one picture, in the places of its tokens: those of its tiles, [layout.tiles,
  // config().tile_tokens(), E], put together as `layout` (LayoutOf) says -> [layout.tokens, E]. The
  // picture as a whole is the first tile, the others go row by row.
  at::Tensor PackImage(const at::Tensor& features_BIE, const ImageLayout& layout) const;

  // ids_T: int64. Image tokens, whatever their id, give rows to be replaced: see PlaceImages.
  at::Tensor Embed(const at::Tensor& ids_T) const;

  // The rows `rows_I` (int64, distinct) of embeddings_TE become features_IE. Differentiable.
  static at::Tensor PlaceImages(const at::Tensor& embeddings_TE, const at::Tensor& rows_I,
                                const at::Tensor& features_IE);

  // See Decoder::Forward and Decoder::Logits.
  at::Tensor Forward(const at::Tensor& embeddings_TE, const at::Tensor& positions_T,
                     AttentionBackend& attention, const at::Tensor& rows_R = {},
                     std::span<const AdapterRows> adapters = {},
                     const SumOverRanks& sum = nullptr) const {
    return decoder_.Forward(embeddings_TE, positions_T, attention, rows_R, /*trace=*/nullptr,
                            adapters, sum);
  }
  at::Tensor Logits(const at::Tensor& hidden_RE) const { return decoder_.Logits(hidden_RE); }

 private:
  const LlavaConfig config_;
  VisionTower vision_tower_;
  Projector projector_;
  Decoder decoder_;
  at::Tensor image_newline_;  // [E], where pictures have tiles
  std::map<std::string, at::Tensor> weights_;
  at::ScalarType dtype_;
  at::Device device_;
  Quantization quantization_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_LLAVA_H_
