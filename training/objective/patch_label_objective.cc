#include "training/objective/patch_label_objective.h"

#include <ATen/core/Reduction.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/image/image.h"
#include "training/objective/feature_cache.h"
#include "training/objective/random_weights.h"

namespace llava::training {
namespace {

std::int64_t ClassesOf(const DenseLabels& labels) {
  std::int64_t classes = 0;
  for (const LabelPlane& plane : labels.planes) classes += std::ssize(plane.classes);
  return classes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PatchLabelObjective>> PatchLabelObjective::Create(
    const model::Llava& model, const model::Preprocessor& preprocessor,
    const PatchLabelOptions& options) {
  ASSIGN_OR_RETURN(DenseLabels labels, ReadDenseLabels(options.folder));
  const model::VisionConfig& vision = model.config().vision;
  const int side = vision.image_size / vision.patch_size;
  if (labels.rows != side || labels.columns != side || labels.images.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.folder, ": has labels for ", labels.rows, " x ", labels.columns, " patches of ",
        labels.images.size(), " pictures, the vision tower sees ", side, " x ", side));
  }
  return std::unique_ptr<PatchLabelObjective>(
      new PatchLabelObjective(model, preprocessor, options, std::move(labels)));
}

PatchLabelObjective::PatchLabelObjective(const model::Llava& model,
                                         const model::Preprocessor& preprocessor,
                                         const PatchLabelOptions& options, DenseLabels labels)
    : model_(model),
      preprocessor_(preprocessor),
      options_(options),
      labels_(std::move(labels)),
      sampler_(std::vector<std::int32_t>(labels_.images.size(), 1),
               {options.global_batch, Grouping::kNone, options.seed}),
      next_pass_(options.first_step * options.passes) {
  const std::int64_t width = model.config().projector_input_size();
  const std::int64_t classes = ClassesOf(labels_);
  head_weight_ = {"patch_head.weight",
                  RandomNormal({classes, width}, 1.0 / std::sqrt(static_cast<double>(width)),
                               options.seed, "patch_head.weight")
                      .to(model.device(), model.dtype())};
  head_bias_ = {"patch_head.bias",
                at::zeros({classes}, at::TensorOptions(model.dtype()).device(model.device()))};
}

absl::StatusOr<std::vector<SampleImage>> PatchLabelObjective::ReadImages(
    const std::vector<std::int64_t>& rows, Pass* pass) const {
  std::vector<SampleImage> images;
  for (const std::int64_t row : rows) {
    const std::string path = absl::StrCat(options_.folder, "/images/", labels_.images[row]);
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, model::ImageLimits().max_bytes));
    if (options_.pictures) RETURN_IF_ERROR(options_.pictures->Check(path, bytes));
    absl::StatusOr<model::RgbImage> image = model::DecodeImage(bytes);
    if (!image.ok()) return Annotate(image.status(), path);
    model::PixelValues pixels = preprocessor_.Process(*image);
    images.push_back({std::move(pixels.bytes),
                      std::move(pixels.table),
                      pixels.height,
                      pixels.width,
                      pixels.digest,
                      {.tiles = 1, .tokens = model_.config().tile_tokens()}});
    pass->sample_ids.push_back(labels_.images[row]);
  }
  return images;
}

at::Tensor PatchLabelObjective::Targets(const std::vector<std::int64_t>& rows,
                                        std::size_t plane) const {
  const std::int64_t patches = std::int64_t{labels_.rows} * labels_.columns;
  at::Tensor targets = at::empty({std::ssize(rows) * patches}, at::kLong);
  auto* values = targets.mutable_data_ptr<std::int64_t>();
  for (const std::int64_t row : rows) {
    const std::size_t offset = labels_.Offset(static_cast<std::size_t>(row), plane);
    for (std::int64_t i = 0; i < patches; ++i) *values++ = labels_.labels[offset + i];
  }
  return targets.to(model_.device());
}

absl::StatusOr<Pass> PatchLabelObjective::Next() {
  const std::int64_t step = next_pass_ / options_.passes;
  const std::int64_t part = options_.rank * options_.passes + next_pass_ % options_.passes;
  ++next_pass_;
  const std::vector<std::int64_t>& batch = sampler_.Batch(step);
  const std::vector<std::int64_t> rows =
      SplitEvenly(batch, std::vector<std::int32_t>(labels_.images.size(), 1), options_.parts)[part];
  Pass pass;
  if (rows.empty()) return pass;
  ASSIGN_OR_RETURN(const std::vector<SampleImage> images, ReadImages(rows, &pass));
  std::vector<const SampleImage*> pointers;
  for (const SampleImage& image : images) pointers.push_back(&image);
  const at::Tensor features =
      model_.vision_tower().Forward(PixelTensor(pointers, model_)).flatten(0, 1);
  const at::Tensor scores =
      at::linear(features, head_weight_.tensor, head_bias_.tensor).to(at::kFloat);
  std::int64_t first_class = 0;
  for (std::size_t plane = 0; plane < labels_.planes.size(); ++plane) {
    const std::int64_t classes = std::ssize(labels_.planes[plane].classes);
    const at::Tensor plane_scores = scores.narrow(1, first_class, classes);
    const at::Tensor targets = Targets(rows, plane);
    const at::Tensor loss = at::cross_entropy_loss(plane_scores, targets, {}, at::Reduction::Sum);
    pass.loss_sum = pass.loss_sum.defined() ? pass.loss_sum + loss : loss;
    pass.targets += targets.size(0);
    const at::NoGradGuard no_grad;
    pass.correct += (plane_scores.argmax(1) == targets).sum().item<std::int64_t>();
    first_class += classes;
  }
  pass.stats.samples = std::ssize(rows);
  pass.stats.image_tokens = pass.stats.tokens = features.size(0);
  pass.stats.label_tokens = pass.targets;
  return pass;
}

}  // namespace llava::training
