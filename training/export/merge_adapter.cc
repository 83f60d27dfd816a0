#include "training/export/merge_adapter.h"

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "model/adapter/adapter_weights.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/config/config.h"
#include "model/network/checkpoint_writer.h"
#include "model/network/lora.h"
#include "model/network/weights.h"

namespace llava::training {
namespace {

// The weights that the adapter changes, in fp32.
absl::StatusOr<std::map<std::string, at::Tensor>> Merged(const model::Checkpoint& checkpoint,
                                                         const model::AdapterWeights& adapter) {
  std::map<std::string, at::Tensor> merged;
  for (const auto& [name, lora] : model::LorasOf(adapter)) {
    const auto found = checkpoint.tensors().find(name);
    if (found == checkpoint.tensors().end()) {
      return absl::NotFoundError(absl::StrCat("the checkpoint has no tensor ", name));
    }
    ASSIGN_OR_RETURN(const at::Tensor weight, model::TensorOf(found->second));
    const std::int64_t out = lora.b_OR.size(0), in = lora.a_RI.size(1);
    if (weight.sizes() != at::IntArrayRef({out, in})) {
      return absl::InvalidArgumentError(absl::StrCat(name, " has the shape ",
                                                     model::ShapeText(weight.sizes().vec()),
                                                     ", expected [", out, ", ", in, "]"));
    }
    merged[name] = lora.Merged(weight);
  }
  return merged;
}

absl::StatusOr<model::Manifest> ManifestOf(const std::string& checkpoint,
                                           const model::AdapterWeights& adapter) {
  model::Manifest manifest;
  manifest.adapter = adapter.digest.Hex();
  const auto source = model::ReadManifest(checkpoint);
  if (absl::IsNotFound(source.status())) return manifest;
  if (!source.ok()) return source.status();
  manifest.name = source->manifest.name;
  manifest.parent = source->version;
  manifest.recipe = source->manifest.recipe;
  manifest.data_fingerprint = source->manifest.data_fingerprint;
  manifest.step = source->manifest.step;
  return manifest;
}

absl::StatusOr<std::string> Write(const std::string& checkpoint, const std::string& adapter,
                                  at::ScalarType dtype, const std::string& folder) {
  ASSIGN_OR_RETURN(model::LlavaConfig config, model::ReadConfig(checkpoint));
  if (config.quantization != model::Quantization::kNone) {
    return absl::InvalidArgumentError(absl::StrCat(checkpoint, ": the weights are ",
                                                   model::QuantizationName(config.quantization),
                                                   ", expected those that they were made from"));
  }
  ASSIGN_OR_RETURN(const model::AdapterWeights weights,
                   model::ReadAdapter(adapter, std::numeric_limits<std::int64_t>::max()));
  RETURN_IF_ERROR(Annotate(model::CheckFits(weights.adapted(), config.text), adapter));
  ASSIGN_OR_RETURN(
      const model::Checkpoint opened,
      model::Checkpoint::Open(checkpoint, /*vision_tower_directory=*/"", config.foreign_codes));
  config.text.tie_embeddings = opened.IsHeadTied(config.text.tie_embeddings);
  ASSIGN_OR_RETURN(const auto merged, Merged(opened, weights));
  ASSIGN_OR_RETURN(model::Manifest manifest, ManifestOf(checkpoint, weights));
  RETURN_IF_ERROR(
      model::SaveCheckpoint(config, merged, folder, {.source_dir = checkpoint, .dtype = dtype}));
  ASSIGN_OR_RETURN(manifest.files, model::DescribeFiles(folder));
  const std::string json = model::ManifestJson(manifest);
  RETURN_IF_ERROR(WriteFile(absl::StrCat(folder, "/", model::kManifestFile), json));
  RETURN_IF_ERROR(SyncFolder(folder));
  return model::VersionOf(json);
}

}  // namespace

absl::StatusOr<std::string> MergeAdapter(const std::string& checkpoint, const std::string& adapter,
                                         at::ScalarType dtype, const std::string& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder, error)) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder, " is there already, expected a new folder"));
  }
  absl::StatusOr<std::string> version = Write(checkpoint, adapter, dtype, folder);
  if (!version.ok()) std::filesystem::remove_all(folder, error);
  return version;
}

}  // namespace llava::training
