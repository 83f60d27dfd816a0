#include "model/network/llava.h"

#include <ATen/Context.h>
#include <ATen/ops/where.h>
#include <c10/core/InferenceMode.h>

#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/checkpoint/checkpoint.h"
#include "model/kernels/cuda/tensors.h"
#include "model/network/image_features.h"

namespace llava::model {

Llava::Llava(const LlavaConfig& config, WeightSource& source)
    : config_(config),
      vision_tower_(config, source),
      projector_(config, source),
      decoder_(config.text, source),
      image_newline_(config.has_tiles()
                         ? source.TakeSmall(kImageNewlineName, {config.text.hidden_size})
                         : at::Tensor()),
      weights_(source.pack() ? std::map<std::string, at::Tensor>() : source.taken()),
      dtype_(decoder_.dtype()),
      device_(decoder_.device()),
      quantization_(source.pack() ? source.pack()->quantization : Quantization::kNone) {
  std::erase_if(weights_, [](const auto& weight) { return !weight.second.defined(); });
  // For all of the process. cuDNN's attention prepares itself for each shape that it has not seen
  // yet, and contexts change their shapes with each token.
  at::globalContext().setSDPUseCuDNN(false);
}

absl::Status CheckQuantization(const std::string& directory, const LlavaConfig& config,
                               Quantization asked) {
  const Quantization stored = config.quantization;
  if (stored == Quantization::kNone || asked == Quantization::kNone || asked == stored) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      directory, ": the weights are stored as ", QuantizationName(stored),
      " and cannot be served as ", QuantizationName(asked), "; expected weights: auto"));
}

namespace {

// Whether the device multiplies with weights that are held so.
absl::Status CheckDevice(const std::string& directory, Quantization held, at::Device device) {
  if (held == Quantization::kInt4) {
    return absl::UnimplementedError(
        absl::StrCat(directory, ": weights of int4 are not supported on the device ", device.str(),
                     ", only CPUs multiply with them; expected numbers, served as auto, int8 or "
                     "fp8"));
  }
  if (held != Quantization::kFp8) return absl::OkStatus();
  const int capability = ComputeCapability(device);
  if (capability >= kE4m3Capability) return absl::OkStatus();
  const auto text = [](int tenfold) { return absl::StrCat(tenfold / 10, ".", tenfold % 10); };
  return absl::FailedPreconditionError(absl::StrCat(
      "weights: fp8 is not supported on the device ", device.str(),
      ", whose compute capability is ", text(capability), ", expected ", text(kE4m3Capability),
      " or more (Ada, Hopper and later); expected weights: auto or int8"));
}

// As stored, or as asked where the checkpoint holds numbers.
absl::StatusOr<Quantization> ChooseQuantization(const std::string& directory,
                                                const LlavaConfig& config,
                                                const LoadOptions& options) {
  const Quantization asked = options.quantization;
  RETURN_IF_ERROR(CheckQuantization(directory, config, asked));
  const Quantization held = asked == Quantization::kNone ? config.quantization : asked;
  if (held == Quantization::kNone || options.device.is_meta()) return held;
  if (!options.pack && (held == Quantization::kFp8 || !options.device.is_cpu())) {
    return absl::UnimplementedError(
        absl::StrCat(directory, ": a model is not trained with weights of ", QuantizationName(held),
                     " on the device ", options.device.str()));
  }
  if (options.device.is_cuda()) RETURN_IF_ERROR(CheckDevice(directory, held, options.device));
  return held;
}

// The inputs of a layer's products that are dealt out to the devices of a shard.
std::array<std::int64_t, 2> SharedInputs(const TextConfig& part) {
  return {std::int64_t{part.num_heads} * part.head_dim, std::int64_t{part.intermediate_size}};
}

// A group of codes shares a scale: no cut goes through one.
absl::Status CheckGroups(const std::string& directory, const LlavaConfig& config,
                         const LoadOptions& options, Quantization quantization) {
  const bool has_codes = config.quantization != Quantization::kNone || config.foreign_codes ||
                         !options.device.is_cpu();
  const bool is_cut = !options.shard.is_whole() && IsStored(quantization);
  if (!has_codes || !is_cut) return absl::OkStatus();
  const std::int64_t group = quantization == Quantization::kInt4 ? kInt4Group : kInt8Group;
  for (const std::int64_t inputs : SharedInputs(ShardOf(config.text, options.shard.size))) {
    if (inputs % group == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        directory, ": each of ", options.shard.size, " devices would have ", inputs,
        " columns of a matrix of codes, expected a multiple of ", group,
        ", which share a scale: take fewer devices (devices), or the checkpoint that it was "
        "quantised from, in another format (weights)"));
  }
  return absl::OkStatus();
}

// The products of GPUs take whole loads.
absl::Status CheckSizes(const std::string& directory, const LlavaConfig& config,
                        const LoadOptions& options, Quantization quantization) {
  if (!options.device.is_cuda() || quantization == Quantization::kNone) return absl::OkStatus();
  const TextConfig part = ShardOf(config.text, options.shard.size);
  const auto [queries, inner] = SharedInputs(part);
  const std::int64_t keys = std::int64_t{part.num_kv_heads} * part.head_dim;
  for (const std::int64_t size : {std::int64_t{part.hidden_size}, queries, keys, inner}) {
    if (size % kDeviceMatrixMultiple == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        directory, ": a product of the language model has ", size, " inputs or outputs, which ",
        QuantizationName(quantization), " on GPUs takes as multiples of ", kDeviceMatrixMultiple,
        "; expected weights: auto"));
  }
  return absl::OkStatus();
}

std::optional<WeightFormat> FrozenLayers(const LoadOptions& options) {
  if (options.pack || options.quantization == Quantization::kNone) return std::nullopt;
  return Packing(options.quantization, options.dtype).layers;
}

// For adapters that become part of the weights.
absl::Status CheckNumbers(const std::string& directory, const LlavaConfig& config) {
  if (config.quantization == Quantization::kNone && !config.foreign_codes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(directory,
                   ": the weights are stored as codes, expected those that they were made from, "
                   "into which the adapter can be merged"));
}

// What make(config, source) makes from the weights.
template <typename Make>
auto LoadFrom(const std::string& directory, const LoadOptions& options, const Make& make)
    -> decltype(make(std::declval<LlavaConfig>(), std::declval<CheckpointWeights&>())) {
  ASSIGN_OR_RETURN(LlavaConfig config, ReadConfig(directory, options.vision_tower_dir));
  if (!options.merged.empty()) RETURN_IF_ERROR(CheckNumbers(directory, config));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                   Checkpoint::Open(directory, config.vision_tower_dir, config.foreign_codes));
  config.text.tie_embeddings = checkpoint.IsHeadTied(config.text.tie_embeddings);
  ASSIGN_OR_RETURN(const Quantization quantization, ChooseQuantization(directory, config, options));
  RETURN_IF_ERROR(CheckShards(config.text, options.shard.size));
  RETURN_IF_ERROR(CheckGroups(directory, config, options, quantization));
  RETURN_IF_ERROR(CheckSizes(directory, config, options, quantization));
  // What is packed on the CPU is converted then, tensor by tensor.
  const bool as_stored = options.pack && options.device.is_cpu();
  std::optional<Packing> pack;
  if (options.pack) pack = Packing(quantization, options.dtype, options.device.is_cuda());
  CheckpointWeights source(checkpoint,
                           {.dtype = as_stored ? std::nullopt : std::optional(options.dtype),
                            .device = options.device,
                            .verify = options.verify,
                            .pack = pack,
                            .frozen_layers = FrozenLayers(options),
                            .merged = options.merged,
                            .stored = config.quantization,
                            .shard = options.shard});
  try {
    const c10::InferenceMode inference(options.pack);
    return make(config, source);
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("loading ", directory, ": ", error.what_without_backtrace()));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Llava>> Llava::Load(const std::string& directory,
                                                   const LoadOptions& options) {
  using Loaded = absl::StatusOr<std::unique_ptr<Llava>>;
  return LoadFrom(directory, options,
                  [](const LlavaConfig& config, CheckpointWeights& source) -> Loaded {
                    auto model = std::make_unique<Llava>(config, source);
                    RETURN_IF_ERROR(source.status());
                    std::vector<std::string> dormant = model->vision_tower().DormantPrefixes();
                    if (config.text.tie_embeddings) dormant.emplace_back(kLmHeadName);
                    RETURN_IF_ERROR(source.CheckNothingLeft(dormant));
                    return model;
                  });
}

absl::StatusOr<std::unique_ptr<DecoderLayers>> Llava::LoadLayers(const std::string& directory,
                                                                 const LoadOptions& options) {
  using Loaded = absl::StatusOr<std::unique_ptr<DecoderLayers>>;
  LLAVA_CHECK(options.pack && options.shard.rank > 0);
  return LoadFrom(
      directory, options, [&](const LlavaConfig& config, CheckpointWeights& source) -> Loaded {
        auto layers = std::make_unique<DecoderLayers>(config.text, source, options.device);
        RETURN_IF_ERROR(source.status());
        return layers;
      });
}

at::Tensor Llava::EncodeImages(const at::Tensor& pixels) const {
  return projector_.Forward(vision_tower_.Forward(pixels));
}

at::Tensor Llava::PackImage(const at::Tensor& features_BIE, const ImageLayout& layout) const {
  LLAVA_CHECK_EQ(features_BIE.size(0), layout.tiles);
  if (!config_.has_tiles()) return features_BIE[0];
  return PackTiles(features_BIE, layout, config_.vision.patches_per_side(), image_newline_);
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
