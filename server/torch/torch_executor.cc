#include "server/torch/torch_executor.h"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/attention/to_device.h"
#include "server/torch/torch_adapter.h"

namespace llava::engine {
namespace {

// LibTorch reports a failed CPU allocation as a plain error, recognisable by its message only.
bool IsOutOfMemory(const c10::Error& error) {
  return dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
         absl::StrContains(error.what_without_backtrace(), "not enough memory") ||
         absl::StrContains(error.what_without_backtrace(), "can't allocate memory");
}

// Runs f, which returns a Status or a StatusOr, with the exceptions of LibTorch as a Status.
template <typename F>
auto Guarded(absl::string_view what, F f) -> decltype(f()) {
  try {
    return f();
  } catch (const c10::Error& error) {
    const std::string message = absl::StrCat(what, ": ", error.what_without_backtrace());
    if (IsOutOfMemory(error)) return absl::ResourceExhaustedError(message);
    return absl::InternalError(message);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": out of memory"));
  }
}

// Where kernels read a decoded token's numbers on the device, or the device is a CPU, which is only
// in tests. PagedAtenAttention without them makes operators whose sizes are those of one batch.
bool CanBeRecorded(const model::KvShape& shape) {
  return shape.device.is_cpu() || shape.head_dim % 8 == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TorchExecutor>> TorchExecutor::Create(
    std::span<const model::KvShape> shapes, int num_blocks, int threads,
    StepGraphs::Options graphs) {
  if (shapes.size() > 1 || !CanBeRecorded(shapes.front())) graphs.backend = nullptr;
  const int spare_blocks = graphs.backend == nullptr ? 0 : 1;
  std::vector<std::unique_ptr<Rank>> ranks;
  std::vector<at::Device> devices;
  for (const model::KvShape& shape : shapes) {
    const std::int64_t bytes = (num_blocks + spare_blocks) * model::KvCache::BlockBytes(shape);
    ASSIGN_OR_RETURN(model::KvCache cache, model::KvCache::Create(shape, bytes));
    ranks.push_back(std::make_unique<Rank>(std::move(cache)));
    devices.push_back(shape.device);
  }
  ASSIGN_OR_RETURN(auto rank_threads, model::RankThreads::Start(std::move(devices), threads));
  return std::unique_ptr<TorchExecutor>(new TorchExecutor(std::move(ranks), std::move(rank_threads),
                                                          std::move(graphs),
                                                          /*spare=*/num_blocks));
}

model::SumOverRanks TorchExecutor::SumOf(int rank) const {
  if (ranks_.size() == 1) return nullptr;
  return [this, rank](const at::Tensor& tensor) { threads_->Sum(rank, tensor); };
}

absl::Status TorchExecutor::CheckShape(const TorchModel& model) const {
  LLAVA_CHECK_EQ(static_cast<std::size_t>(model.ranks()), ranks_.size());
  for (int rank = 0; rank < model.ranks(); ++rank) {
    const model::KvShape shape = model.kv_shape(rank);
    const model::KvShape& own = ranks_[static_cast<std::size_t>(rank)]->cache.shape();
    if (shape == own) continue;
    const auto describe = [](const model::KvShape& s) {
      return absl::StrCat(s.layers, " layers of ", s.kv_heads, " key/value heads of size ",
                          s.head_dim, " in ", s.dtype == at::kChar ? "int8" : at::toString(s.dtype),
                          " on ", s.device.str());
    };
    return absl::FailedPreconditionError(absl::StrCat("the model has ", describe(shape),
                                                      ", the KV blocks of this engine are for ",
                                                      describe(own)));
  }
  return absl::OkStatus();
}

absl::Status TorchExecutor::AddVersion(std::shared_ptr<const LoadedModel> model) {
  auto torch_model = std::dynamic_pointer_cast<const TorchModel>(std::move(model));
  LLAVA_CHECK(torch_model != nullptr);
  RETURN_IF_ERROR(CheckShape(*torch_model));
  RETURN_IF_ERROR(WarmUp(*torch_model));
  const Digest version = torch_model->version();
  LLAVA_CHECK(versions_.try_emplace(version, Version{std::move(torch_model), {}}).second);
  return absl::OkStatus();
}

// One token through the decoder, on blocks of its own: threads, allocators and what LibTorch does
// once are then not the first request's to wait for.
absl::Status TorchExecutor::WarmUp(const TorchModel& model) const {
  const std::int64_t first = 0;
  const model::Llava& llava = model.llava();
  at::Tensor embeddings;
  RETURN_IF_ERROR(Guarded("warming up", [&]() -> absl::Status {
    const c10::InferenceMode inference;
    embeddings = llava.Embed(model::ToDevice({&first, 1}, llava.device()));
    return absl::OkStatus();
  }));
  return threads_->Run([&](int rank) {
    return Guarded("warming up", [&]() -> absl::Status {
      const c10::InferenceMode inference;
      const model::KvShape& shape = ranks_[static_cast<std::size_t>(rank)]->cache.shape();
      ASSIGN_OR_RETURN(model::KvCache cache,
                       model::KvCache::Create(shape, model::KvCache::BlockBytes(shape)));
      const std::vector<std::int32_t> table = {0};
      const std::unique_ptr<model::PagedAttention> attention = model::MakePagedAttention(cache);
      const model::PagedSequence sequence{
          .first_row = 0, .tokens = 1, .context = 0, .blocks = table};
      attention->Refill({&sequence, 1});
      const at::Tensor hidden = model.Forward(
          rank, embeddings, *attention,
          {.positions_T = model::ToDevice({&first, 1}, shape.device), .sum = SumOf(rank)});
      (rank == 0 ? llava.Logits(hidden) : hidden).to(at::kCPU);
      return absl::OkStatus();
    });
  });
}

void TorchExecutor::RemoveVersion(const Digest& version) {
  graphs_.Drop(version);
  LLAVA_CHECK_EQ(versions_.erase(version), 1u);
}

void TorchExecutor::DropFeatures(std::span<const scheduling::FeatureId> features) {
  images_.Drop(features);
}

TorchExecutor::Version& TorchExecutor::VersionOf(const scheduling::StepPlan& plan) {
  const auto version = versions_.find(plan.version);
  LLAVA_CHECK(version != versions_.end());
  return version->second;
}

void TorchExecutor::Version::UpdateProcessors(std::span<const scheduling::Sample> samples) {
  const std::vector<int>& end_ids = model->llava().config().text.eos_token_ids;
  ProcessorsOfChoices before = std::exchange(processors, {});
  for (const scheduling::Sample& sample : samples) {
    if (sample.draft != kNotSampled) continue;  // of the sequence of the sample before
    const auto kept = before.find(sample.sequence);
    processors.emplace(sample.sequence,
                       kept != before.end()
                           ? std::move(kept->second)
                           : model::MakeLogitsProcessors(*sample.params, end_ids, sample.seed));
  }
}

absl::Status TorchExecutor::EncodeImages(const scheduling::StepPlan& plan) {
  absl::Status status = Guarded("encoding images", [&]() -> absl::Status {
    const c10::InferenceMode inference;
    if (marks_ != nullptr) marks_->Set(DeviceMarks::Mark::kBegin);
    const auto run = [&](const at::Tensor& pixels, const ImageEncoder::Features& features) {
      const std::optional<at::Tensor> replayed = graphs_.Encode(plan.version, pixels, features);
      return replayed ? *replayed : features(pixels);
    };
    RETURN_IF_ERROR(images_.Encode(plan.encodes, VersionOf(plan).model->llava(), run));
    if (marks_ != nullptr) marks_->Set(DeviceMarks::Mark::kEncoded);
    has_encoded_ = true;
    return absl::OkStatus();
  });
  if (absl::IsResourceExhausted(status)) graphs_.GiveMemory();
  return status;
}

absl::StatusOr<Collected> TorchExecutor::Collect() {
  using Mark = DeviceMarks::Mark;
  const bool has_encoded = std::exchange(has_encoded_, false);
  const auto samples = std::exchange(launched_, {});
  auto collected = Guarded("running a step", [&]() -> absl::StatusOr<Collected> {
    const c10::InferenceMode inference;
    Collected step;
    if (marks_ != nullptr) {
      marks_->Set(Mark::kEnd);
      marks_->WaitFor(Mark::kEnd);
      if (has_encoded) step.encode = marks_->Between(Mark::kBegin, Mark::kEncoded);
    }
    if (!samples.empty()) {
      ASSIGN_OR_RETURN(step.result, CollectSamples(samples));
    }
    return step;
  });
  if (absl::IsResourceExhausted(collected.status())) graphs_.GiveMemory();
  return collected;
}

void TorchExecutor::Rank::CopyBlocks(const scheduling::StepPlan& plan) {
  for (const scheduling::BlockCopy& copy : plan.copies) {
    cache.CopyBlock(copy.from.value(), copy.to.value());
  }
}

void TorchExecutor::Rank::Begin(const scheduling::StepPlan& plan) {
  CopyBlocks(plan);
  inputs.Refill(plan, *attention);
}

at::Tensor TorchExecutor::Embeddings(const scheduling::StepPlan& plan,
                                     const model::Llava& llava) const {
  at::Tensor rows_TE = llava.Embed(inputs().ids_T());
  for (const scheduling::ImageRows& rows : plan.image_rows) {
    const at::Tensor& feature = images_.feature(rows.feature);
    rows_TE.narrow(0, rows.first_row, rows.count)
        .copy_(feature.narrow(0, rows.feature_row, rows.count));
  }
  return rows_TE;
}

// Every rank the same step on its part of the layers; rank 0 has begun it.
absl::StatusOr<at::Tensor> TorchExecutor::RunLayers(const scheduling::StepPlan& plan,
                                                    const TorchModel& model,
                                                    const at::Tensor& embeddings_TE) {
  at::Tensor hidden_RE;
  RETURN_IF_ERROR(threads_->Run([&](int number) {
    return Guarded("running a step", [&]() -> absl::Status {
      const c10::InferenceMode inference;
      Rank& rank = *ranks_[static_cast<std::size_t>(number)];
      if (number > 0) rank.Begin(plan);
      std::vector<model::AdapterRows> adapters;
      for (const StepInputs::Adapted& one : rank.inputs.adapted()) {
        const auto& adapter = static_cast<const TorchAdapter&>(*one.adapter);
        adapters.push_back({&adapter.on(rank.cache.shape().device, model.shard(number)), one.rows_N,
                            one.wanted_N});
      }
      at::Tensor hidden = model.Forward(number, embeddings_TE, *rank.attention,
                                        {.positions_T = rank.inputs.positions_T(),
                                         .rows_R = rank.inputs.rows_R(),
                                         .adapters = adapters,
                                         .sum = SumOf(number)});
      if (number == 0) hidden_RE = std::move(hidden);
      return absl::OkStatus();
    });
  }));
  return hidden_RE;
}

absl::Status TorchExecutor::Launch(const scheduling::StepPlan& plan) {
  absl::Status status = Guarded("running a step", [&]() -> absl::Status {
    const c10::InferenceMode inference;
    Version& version = VersionOf(plan);
    Rank& first = *ranks_.front();
    first.CopyBlocks(plan);
    if (const std::optional<at::Tensor> hidden_NE = graphs_.Run(plan, *version.model)) {
      replayed_rows_.clear();
      for (const scheduling::Sample& sample : plan.samples) replayed_rows_.push_back(sample.row);
      LaunchSamples(plan, version, *hidden_NE, replayed_rows_);
      return absl::OkStatus();
    }
    first.inputs.Refill(plan, *first.attention);
    ASSIGN_OR_RETURN(const at::Tensor hidden_RE,
                     RunLayers(plan, *version.model, Embeddings(plan, version.model->llava())));
    LaunchSamples(plan, version, hidden_RE, inputs().row_of_sample());
    return absl::OkStatus();
  });
  if (absl::IsResourceExhausted(status)) graphs_.GiveMemory();
  launched_ = {};
  if (status.ok()) launched_ = plan.samples;
  return status;
}

void TorchExecutor::LaunchSamples(const scheduling::StepPlan& plan, Version& version,
                                  const at::Tensor& hidden_RE,
                                  std::span<const std::int64_t> row_of_sample) {
  if (plan.samples.empty()) return;
  version.UpdateProcessors(plan.samples);
  const at::Tensor logits_RV = version.model->llava().Logits(hidden_RE);
  std::vector<StepSampler::Row> rows;
  for (std::size_t i = 0; i < plan.samples.size(); ++i) {
    const scheduling::Sample& sample = plan.samples[i];
    rows.push_back({row_of_sample[i],
                    {.params = sample.params,
                     .tokens = {sample.prompt_ids, sample.output_ids},
                     .processors = version.processors.at(sample.sequence),
                     .seed = sample.seed},
                    sample.draft});
  }
  sampler_.Launch(logits_RV, rows);
}

absl::StatusOr<scheduling::StepResult> TorchExecutor::CollectSamples(
    std::span<const scheduling::Sample> samples) {
  scheduling::StepResult result;
  for (absl::StatusOr<SampledToken>& token : sampler_.Collect()) {
    if (absl::IsInvalidArgument(token.status())) {
      const auto sample = result.tokens.size();
      const bool is_draft = samples[sample].draft != kNotSampled;  // then the next step says it
      if (!is_draft) result.failed.emplace_back(static_cast<int>(sample), token.status());
      token = is_draft ? NotSampled() : SampledToken{};
    }
    RETURN_IF_ERROR(token.status());
    result.tokens.push_back(*std::move(token));
  }
  return result;
}

}  // namespace llava::engine
