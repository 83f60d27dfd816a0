#include "model/llava.h"

#include <ATen/ops/where.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/checkpoint.h"

namespace llava::model {

Llava::Llava(const LlavaConfig& config, WeightSource& source)
    : config_(config),
      vision_tower_(config, source),
      projector_(config, source),
      decoder_(config.text, source),
      weights_(source.taken()) {}

absl::StatusOr<std::unique_ptr<Llava>> Llava::Load(const std::string& directory,
                                                   const LoadOptions& options) {
  ASSIGN_OR_RETURN(const LlavaConfig config, ReadConfig(directory, options.vision_tower_dir));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                   Checkpoint::Open(directory, config.vision_tower_dir));
  CheckpointWeights source(
      checkpoint, {.dtype = options.dtype, .device = options.device, .verify = options.verify});
  try {
    auto model = std::make_unique<Llava>(config, source);
    RETURN_IF_ERROR(source.status());
    std::vector<std::string> dormant = model->vision_tower().DormantPrefixes();
    if (config.text.tie_embeddings) dormant.emplace_back(kLmHeadName);
    RETURN_IF_ERROR(source.CheckNothingLeft(dormant));
    return model;
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("loading ", directory, ": ", error.what_without_backtrace()));
  }
}

at::ScalarType Llava::dtype() const { return weights_.begin()->second.scalar_type(); }

at::Device Llava::device() const { return weights_.begin()->second.device(); }

at::Tensor Llava::EncodeImages(const at::Tensor& pixels) const {
  return projector_.Forward(vision_tower_.Forward(pixels));
}

at::Tensor Llava::Embed(const at::Tensor& ids_T) const {
  // The original layout's image token is no row of the table.
  if (config_.image_token_id >= 0 && config_.image_token_id < config_.text.vocab_size) {
    return decoder_.Embed(ids_T);
  }
  return decoder_.Embed(ids_T.masked_fill(ids_T == config_.image_token_id, 0));
}

at::Tensor Llava::PlaceImages(const at::Tensor& embeddings_TE, const at::Tensor& rows_I,
                              const at::Tensor& features_IE) {
  return embeddings_TE.index_copy(0, rows_I, features_IE);
}

}  // namespace llava::model
