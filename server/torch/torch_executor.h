// Carries out steps with LibTorch: one flattened batch through the model over a paged KV cache.
#ifndef LLAVA_SERVER_TORCH_TORCH_EXECUTOR_H_
#define LLAVA_SERVER_TORCH_TORCH_EXECUTOR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "model/attention/kv_cache.h"
#include "model/attention/paged_attention.h"
#include "model/attention/to_device.h"
#include "model/network/llava.h"
#include "model/network/logits_processor.h"
#include "model/ranks/rank_threads.h"
#include "server/engine/executor.h"
#include "server/torch/device_marks.h"
#include "server/torch/image_encoder.h"
#include "server/torch/step_graphs.h"
#include "server/torch/step_inputs.h"
#include "server/torch/step_sampler.h"
#include "server/torch/torch_model.h"

namespace llava::engine {

// On one device, or on several that share each layer of a model (model::LayerShard): then each has
// its part of the blocks, and a thread; rank 0 is the engine's. Versions share the blocks; all have
// the KV shapes that the executor was made for. Engine thread only.
class TorchExecutor final : public Executor {
 public:
  // `shapes`: by rank (TorchModel::kv_shapes). `threads`: that CPUs compute with in all (0: as many
  // as each thread has). `graphs`: of a backend for the device; those of several devices record
  // nothing. Errors are those of KvCache::Create and RankThreads::Start.
  static absl::StatusOr<std::unique_ptr<TorchExecutor>> Create(
      std::span<const model::KvShape> shapes, int num_blocks, int threads = 0,
      StepGraphs::Options graphs = {});

  // For tests, in the place of those of rank 0's device.
  void set_marks(std::unique_ptr<DeviceMarks> marks) { marks_ = std::move(marks); }

  // `model` is a TorchModel of as many ranks.
  absl::Status AddVersion(std::shared_ptr<const LoadedModel> model) override;
  void RemoveVersion(const Digest& version) override;
  void DropFeatures(std::span<const scheduling::FeatureId> features) override;
  absl::Status EncodeImages(const scheduling::StepPlan& plan) override;
  absl::Status Launch(const scheduling::StepPlan& plan) override;
  absl::StatusOr<Collected> Collect() override;
  bool runs_behind() const override { return marks_ != nullptr; }
  GraphCounts graphs() const override { return graphs_.counts(); }

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

  // A device's blocks, and what a step sends to it; kept from step to step and refilled.
  struct Rank {
    explicit Rank(model::KvCache own_cache)
        : cache(std::move(own_cache)),
          inputs(model::StepBuffer(cache.shape().device)),
          attention(model::MakePagedAttention(cache)) {}
    void CopyBlocks(const scheduling::StepPlan& plan);
    // Copies blocks; the inputs are then those of `plan`.
    void Begin(const scheduling::StepPlan& plan);

    model::KvCache cache;
    StepInputs inputs;
    const std::unique_ptr<model::PagedAttention> attention;
  };

  // `spare`: a block of rank 0 that no plan names, where graphs have a backend.
  TorchExecutor(std::vector<std::unique_ptr<Rank>> ranks,
                std::unique_ptr<model::RankThreads> threads, StepGraphs::Options graphs, int spare)
      : ranks_(std::move(ranks)),
        threads_(std::move(threads)),
        marks_(MarksOf(ranks_.front()->cache.shape().device)),
        images_(model::StepBuffer(ranks_.front()->cache.shape().device)),
        sampler_(model::StepBuffer(ranks_.front()->cache.shape().device),
                 /*on_device=*/!ranks_.front()->cache.shape().device.is_cpu()),
        graphs_(std::move(graphs), ranks_.front()->cache, spare,
                [this](const std::string& text) { Warn(text); }) {}

  absl::Status CheckShape(const TorchModel& model) const;
  absl::Status WarmUp(const TorchModel& model) const;
  // For what runs on every rank.
  model::SumOverRanks SumOf(int rank) const;
  absl::StatusOr<at::Tensor> RunLayers(const scheduling::StepPlan& plan, const TorchModel& model,
                                       const at::Tensor& embeddings_TE);
  Version& VersionOf(const scheduling::StepPlan& plan);
  // The rows of the step's tokens, with the features of images in their places: [T, E].
  at::Tensor Embeddings(const scheduling::StepPlan& plan, const model::Llava& llava) const;
  // `row_of_sample`: of hidden_RE.
  void LaunchSamples(const scheduling::StepPlan& plan, Version& version,
                     const at::Tensor& hidden_RE, std::span<const std::int64_t> row_of_sample);
  absl::StatusOr<scheduling::StepResult> CollectSamples(
      std::span<const scheduling::Sample> samples);

  StepInputs& inputs() { return ranks_.front()->inputs; }
  const StepInputs& inputs() const { return ranks_.front()->inputs; }

  const std::vector<std::unique_ptr<Rank>> ranks_;
  const std::unique_ptr<model::RankThreads> threads_;
  std::unique_ptr<DeviceMarks> marks_;            // null: the device never runs behind
  bool has_encoded_ = false;                      // in this step
  std::span<const scheduling::Sample> launched_;  // of this step, until it is collected
  std::map<Digest, Version> versions_;
  ImageEncoder images_;
  StepSampler sampler_;
  std::vector<std::int64_t> replayed_rows_;  // of a replayed step's samples
  StepGraphs graphs_;                        // destroyed before the versions
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_TORCH_EXECUTOR_H_
