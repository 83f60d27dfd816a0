// Teaches a vision tower what lies under each patch of an image, before it meets a decoder: LLaVA
// too starts from a tower that already sees. A linear head over the features, thrown away with the
// stage, chooses one class of every plane of labels for every patch.
#ifndef LLAVA_TRAINING_OBJECTIVE_PATCH_LABEL_OBJECTIVE_H_
#define LLAVA_TRAINING_OBJECTIVE_PATCH_LABEL_OBJECTIVE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/image/preprocess.h"
#include "model/network/llava.h"
#include "training/data/dense_labels.h"
#include "training/data/length_grouped_sampler.h"
#include "training/data/picture_record.h"
#include "training/objective/objective.h"

namespace llava::training {

struct PatchLabelOptions {
  std::string folder;             // see training/data/dense_labels.h
  std::int64_t global_batch = 1;  // images a step
  std::int64_t parts = 1;         // ranks x passes that share a step
  std::int64_t rank = 0;          // takes parts rank * passes ... of each step
  std::int64_t passes = 1;
  std::int64_t first_step = 0;
  std::uint64_t seed = 0;
  std::shared_ptr<PictureRecord> pictures = nullptr;  // asked about each picture that is read
};

class PatchLabelObjective final : public Objective {
 public:
  // `model` outlives this. INVALID_ARGUMENT when the labels' grid is not that of the tower's
  // patches.
  static absl::StatusOr<std::unique_ptr<PatchLabelObjective>> Create(
      const model::Llava& model, const model::Preprocessor& preprocessor,
      const PatchLabelOptions& options);

  absl::StatusOr<Pass> Next() override;
  std::int64_t steps_per_epoch() const override { return sampler_.steps_per_epoch(); }
  std::vector<model::NamedTensor> extra_parameters() const override {
    return {head_weight_, head_bias_};
  }

 private:
  PatchLabelObjective(const model::Llava& model, const model::Preprocessor& preprocessor,
                      const PatchLabelOptions& options, DenseLabels labels);

  absl::StatusOr<std::vector<SampleImage>> ReadImages(const std::vector<std::int64_t>& rows,
                                                      Pass* pass) const;
  at::Tensor Targets(const std::vector<std::int64_t>& rows, std::size_t plane) const;

  const model::Llava& model_;
  const model::Preprocessor preprocessor_;
  const PatchLabelOptions options_;
  const DenseLabels labels_;
  LengthGroupedSampler sampler_;
  model::NamedTensor head_weight_;  // [classes of all planes, tower width]
  model::NamedTensor head_bias_;
  std::int64_t next_pass_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_PATCH_LABEL_OBJECTIVE_H_
