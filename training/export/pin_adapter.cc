#include "training/export/pin_adapter.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "model/adapter/adapter_weights.h"
#include "model/checkpoint/manifest.h"
#include "model/config/config.h"
#include "model/config/decoder_products.h"

namespace llava::training {
namespace {

// The version of a checkpoint; "" for one without a manifest.
absl::StatusOr<std::string> VersionOfFolder(const std::string& checkpoint) {
  const auto read = model::ReadManifest(checkpoint);
  if (absl::IsNotFound(read.status())) return std::string();
  if (!read.ok()) return read.status();
  return read->version;
}

absl::StatusOr<model::CheckpointVersion> WriteManifest(const std::string& adapter,
                                                       const std::string& checkpoint) {
  model::Manifest manifest;
  ASSIGN_OR_RETURN(manifest.parent, VersionOfFolder(checkpoint));
  ASSIGN_OR_RETURN(manifest.files, model::DescribeFiles(adapter));
  const std::string json = model::ManifestJson(manifest);
  RETURN_IF_ERROR(WriteFile(absl::StrCat(adapter, "/", model::kManifestFile), json));
  RETURN_IF_ERROR(SyncFolder(adapter));
  return model::CheckpointVersion{model::VersionOf(json), std::move(manifest)};
}

}  // namespace

absl::StatusOr<PinnedAdapter> PinAdapter(const std::string& adapter,
                                         const std::string& checkpoint) {
  ASSIGN_OR_RETURN(const model::AdapterWeights weights,
                   model::ReadAdapter(adapter, std::numeric_limits<std::int64_t>::max()));
  ASSIGN_OR_RETURN(const model::LlavaConfig config, model::ReadConfig(checkpoint));
  RETURN_IF_ERROR(Annotate(model::CheckFits(weights.adapted(), config.text),
                           absl::StrCat(adapter, " beside ", checkpoint)));
  absl::StatusOr<model::CheckpointVersion> version = model::ReadManifest(adapter);
  if (version.ok()) {
    RETURN_IF_ERROR(model::VerifyFiles(version->manifest, adapter));
  } else if (absl::IsNotFound(version.status())) {
    version = WriteManifest(adapter, checkpoint);
  }
  RETURN_IF_ERROR(version.status());
  return PinnedAdapter{.version = version->version,
                       .base = weights.base,
                       .targets = weights.targets,
                       .rank = weights.rank,
                       .bytes = weights.bytes,
                       .files = version->manifest.files.size()};
}

}  // namespace llava::training
