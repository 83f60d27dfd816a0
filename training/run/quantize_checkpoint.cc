#include "training/run/quantize_checkpoint.h"

#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"
#include "model/network/checkpoint_writer.h"

namespace llava::training {
namespace {

absl::StatusOr<std::string> Write(const std::string& checkpoint, model::Quantization quantization,
                                  const std::string& folder) {
  model::Manifest manifest;
  const auto source = model::ReadManifest(checkpoint);
  if (source.ok()) {
    manifest.name = source->manifest.name;
    manifest.parent = source->version;
    manifest.recipe = source->manifest.recipe;
    manifest.data_fingerprint = source->manifest.data_fingerprint;
    manifest.step = source->manifest.step;
  } else if (!absl::IsNotFound(source.status())) {
    return source.status();
  }
  RETURN_IF_ERROR(model::SaveQuantized(checkpoint, quantization, folder));
  ASSIGN_OR_RETURN(manifest.files, model::DescribeFiles(folder));
  const std::string json = model::ManifestJson(manifest);
  RETURN_IF_ERROR(WriteFile(absl::StrCat(folder, "/", model::kManifestFile), json));
  RETURN_IF_ERROR(SyncFolder(folder));
  return model::VersionOf(json);
}

}  // namespace

absl::StatusOr<std::string> QuantizeCheckpoint(const std::string& checkpoint,
                                               const std::string& format,
                                               const std::string& folder) {
  const std::optional<model::Quantization> quantization = model::QuantizationOf(format);
  if (!quantization || *quantization == model::Quantization::kNone) {
    return absl::InvalidArgumentError(
        absl::StrCat("--format is \"", format, "\", expected int8 or int4"));
  }
  std::error_code error;
  if (std::filesystem::exists(folder, error)) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder, " is there already, expected a new folder"));
  }
  absl::StatusOr<std::string> version = Write(checkpoint, *quantization, folder);
  if (!version.ok()) std::filesystem::remove_all(folder, error);
  return version;
}

}  // namespace llava::training
