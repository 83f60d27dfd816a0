// Carries out steps with LibTorch: one flattened batch through the model over a paged KV cache.
#ifndef LLAVA_SERVER_TORCH_TORCH_EXECUTOR_H_
#define LLAVA_SERVER_TORCH_TORCH_EXECUTOR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "model/attention/kv_cache.h"
#include "model/attention/paged_attention.h"
#include "model/network/llava.h"
#include "model/network/logits_processor.h"
#include "model/network/sampler.h"
#include "server/engine/executor.h"
#include "server/torch/image_encoder.h"
#include "server/torch/step_inputs.h"

namespace llava::engine {

// What keys and values of such a model look like. On the CPU in the layout of our kernels.
model::KvShape KvShapeOf(const model::TextConfig& text, at::ScalarType dtype, at::Device device);
// Bytes of one token of an encoded image.
std::int64_t FeatureBytesPerToken(const model::TextConfig& text, at::ScalarType dtype);

// A version of LLaVA in the memory of one device. Immutable.
class TorchModel final : public LoadedModel {
 public:
  // `kv_dtype`: of the KV cache (KvShape::dtype); none: as the model computes.
  TorchModel(const Digest& version, std::shared_ptr<const model::Llava> llava,
             std::optional<at::ScalarType> kv_dtype = std::nullopt)
      : version_(version),
        llava_(std::move(llava)),
        kv_dtype_(kv_dtype.value_or(llava_->dtype())) {}

  const Digest& version() const override { return version_; }
  const model::Llava& llava() const { return *llava_; }

  model::KvShape kv_shape() const {
    return KvShapeOf(llava_->config().text, kv_dtype_, llava_->device());
  }
  std::int64_t feature_bytes_per_token() const {
    return FeatureBytesPerToken(llava_->config().text, llava_->dtype());
  }

 private:
  const Digest version_;
  const std::shared_ptr<const model::Llava> llava_;
  const at::ScalarType kv_dtype_;
};

// Versions share the blocks; all have the KV shape that the executor was made for. Engine thread
// only.
class TorchExecutor final : public Executor {
 public:
  // Errors are those of KvCache::Create.
  static absl::StatusOr<std::unique_ptr<TorchExecutor>> Create(const model::KvShape& shape,
                                                               int num_blocks);

  // `model` is a TorchModel.
  absl::Status AddVersion(std::shared_ptr<const LoadedModel> model) override;
  void RemoveVersion(const Digest& version) override;
  void DropFeatures(std::span<const scheduling::FeatureId> features) override;
  absl::Status EncodeImages(const scheduling::StepPlan& plan) override;
  absl::StatusOr<scheduling::StepResult> Forward(const scheduling::StepPlan& plan) override;

 private:
  using ProcessorsOfChoices = std::unordered_map<scheduling::SequenceId, model::LogitsProcessors>;

  // A version, and the logits processors of the choices that sampled in its last step. Those of a
  // choice that pauses are dropped and made anew when it goes on, as their contract allows, so that
  // nobody need say when a choice has ended.
  struct Version {
    std::shared_ptr<const TorchModel> model;
    ProcessorsOfChoices processors;

    // Keeps or makes those of the step's samples.
    void UpdateProcessors(std::span<const scheduling::Sample> samples);
  };

  explicit TorchExecutor(model::KvCache cache);

  absl::Status WarmUp(const model::Llava& llava) const;
  Version& VersionOf(const scheduling::StepPlan& plan);
  // The rows of the step's tokens, with the features of images in their places: [T, E].
  at::Tensor Embeddings(const scheduling::StepPlan& plan, const model::Llava& llava) const;
  absl::StatusOr<scheduling::StepResult> SampleAll(const scheduling::StepPlan& plan,
                                                   Version& version, const at::Tensor& hidden_RE);

  model::KvCache cache_;
  // Of the step that runs; both are kept from step to step and refilled.
  StepInputs inputs_;
  const std::unique_ptr<model::PagedAttention> attention_;
  std::map<Digest, Version> versions_;
  ImageEncoder images_;
  model::BatchSampler sampler_;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_TORCH_EXECUTOR_H_
