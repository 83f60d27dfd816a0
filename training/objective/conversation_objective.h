// Next-token prediction on the answers of conversations about images: both stages of LLaVA
// (arXiv 2304.08485, section 4.2) and fine-tuning.
#ifndef LLAVA_TRAINING_OBJECTIVE_CONVERSATION_OBJECTIVE_H_
#define LLAVA_TRAINING_OBJECTIVE_CONVERSATION_OBJECTIVE_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "model/network/llava.h"
#include "training/objective/feature_cache.h"
#include "training/objective/objective.h"

namespace llava::training {

class ConversationObjective final : public Objective {
 public:
  // Gives the batches in order: empty() ones count as passes without targets.
  using BatchSource = std::function<absl::StatusOr<Batch>()>;

  // `model` and `clock` outlive this. With a frozen tower its features are cached, up to
  // `cache_bytes`. With a clock each pass says how long it waited for its batch.
  ConversationObjective(const model::Llava& model, BatchSource batches,
                        std::int64_t steps_per_epoch, bool tower_is_frozen,
                        std::int64_t cache_bytes, const Clock* clock = nullptr);

  // Texts get noise (training/objective/embedding_noise.h) from now on. 0: none.
  void UseNoise(double alpha) { noise_alpha_ = alpha; }

  void BeginPass(std::uint64_t seed) override { noise_seed_ = seed; }

  absl::StatusOr<Pass> Next() override;
  std::int64_t steps_per_epoch() const override { return steps_per_epoch_; }

 private:
  at::Tensor Features(const Batch& batch, const std::vector<std::int32_t>& images);

  const model::Llava& model_;
  const BatchSource batches_;
  const std::int64_t steps_per_epoch_;
  const bool tower_is_frozen_;
  FeatureCache cache_;
  const Clock* const clock_;
  double noise_alpha_ = 0.0;
  std::uint64_t noise_seed_ = 0;  // of the present step
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_CONVERSATION_OBJECTIVE_H_
