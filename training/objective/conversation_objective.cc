#include "training/objective/conversation_objective.h"

#include <ATen/core/Reduction.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/split_with_sizes.h>

#include <utility>

#include "base/status_macros.h"
#include "training/objective/embedding_noise.h"
#include "training/objective/packed_batch.h"

namespace llava::training {

ConversationObjective::ConversationObjective(const model::Llava& model, BatchSource batches,
                                             std::int64_t steps_per_epoch, bool tower_is_frozen,
                                             std::int64_t cache_bytes, const Clock* clock)
    : model_(model),
      batches_(std::move(batches)),
      steps_per_epoch_(steps_per_epoch),
      tower_is_frozen_(tower_is_frozen),
      cache_(model, cache_bytes),
      clock_(clock) {}

// The projected features of the images, one row an image token.
at::Tensor ConversationObjective::Features(const Batch& batch,
                                           const std::vector<std::int32_t>& pictures) {
  std::vector<const SampleImage*> images;
  for (const std::int32_t image : pictures) images.push_back(&batch.images[image]);
  const at::Tensor tiles_BIE = tower_is_frozen_ ? model_.projector().Forward(cache_.Get(images))
                                                : model_.EncodeImages(PixelTensor(images, model_));
  if (!model_.config().has_tiles()) return tiles_BIE.flatten(0, 1);
  std::vector<std::int64_t> counts;
  for (const SampleImage* image : images) counts.push_back(image->layout.tiles);
  std::vector<at::Tensor> features = at::split_with_sizes(tiles_BIE, counts);
  for (std::size_t i = 0; i < images.size(); ++i) {
    features[i] = model_.PackImage(features[i], images[i]->layout);
  }
  return at::cat(features);
}

absl::StatusOr<Pass> ConversationObjective::Next() {
  const TimePoint asked = clock_ != nullptr ? clock_->Now() : TimePoint();
  ASSIGN_OR_RETURN(const Batch batch, batches_());
  Pass pass;
  if (clock_ != nullptr) pass.waited_seconds = Seconds(clock_->Now() - asked);
  pass.stats = batch.stats;
  pass.sample_ids = batch.sample_ids;
  if (batch.empty()) return pass;
  PackedBatch packed = Pack(batch, model_.device());
  const std::shared_ptr<model::AttentionBackend> attention = std::move(packed.attention);
  pass.inputs = attention;
  pass.stats.padding = packed.padding;
  at::Tensor embeddings_TE = model_.Embed(packed.ids_T);
  if (noise_alpha_ > 0.0) {
    embeddings_TE = WithNoise(embeddings_TE, packed.runs, noise_alpha_, noise_seed_);
  }
  if (!packed.images_I.empty()) {
    const at::Tensor features = Features(batch, packed.images_I);
    embeddings_TE = model::Llava::PlaceImages(embeddings_TE, packed.image_rows_P,
                                              features.index_select(0, packed.feature_rows_P));
  }
  const at::Tensor hidden_TE = model_.Forward(embeddings_TE, packed.positions_T, *attention);
  const at::Tensor logits_RV =
      model_.Logits(hidden_TE.index_select(0, packed.label_rows_R)).to(at::kFloat);
  pass.loss_sum = at::cross_entropy_loss(logits_RV, packed.targets_R, {}, at::Reduction::Sum);
  pass.targets = packed.targets_R.size(0);
  const at::NoGradGuard no_grad;
  pass.correct = (logits_RV.argmax(1) == packed.targets_R).sum().item<std::int64_t>();
  return pass;
}

}  // namespace llava::training
