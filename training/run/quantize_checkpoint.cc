#include "training/run/quantize_checkpoint.h"

#include <c10/util/Exception.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"
#include "model/config/config.h"
#include "model/network/calibration.h"
#include "model/network/checkpoint_writer.h"
#include "model/network/llava.h"
#include "training/evaluate/score.h"
#include "training/run/answerer.h"

namespace llava::training {
namespace {

absl::StatusOr<model::Folds> Calibrate(const std::string& checkpoint,
                                       model::Quantization quantization,
                                       const CalibrationData& wanted) {
  ASSIGN_OR_RETURN(const std::vector<EvaluationItem> items,
                   ReadEvaluationItems(wanted.data, wanted.rows));
  if (items.empty()) return absl::InvalidArgumentError(wanted.data + ": has no questions");
  ASSIGN_OR_RETURN(const model::LlavaConfig config, model::ReadConfig(checkpoint));
  if (config.text.fused) {
    return absl::UnimplementedError(
        absl::StrCat(checkpoint, ": a decoder of ", config.text.model_type,
                     ", whose products are fused, is not calibrated: quantize it without"));
  }
  ASSIGN_OR_RETURN(
      const std::unique_ptr<model::Llava> llava,
      model::Llava::Load(checkpoint,
                         {.dtype = config.dtype == "float32" ? at::kFloat : at::kBFloat16}));
  ASSIGN_OR_RETURN(Answerer answerer, Answerer::Make(*llava, checkpoint, ""));
  try {
    model::Calibration calibration(*llava, std::ssize(items));
    for (const EvaluationItem& item : items) {
      std::vector<std::string> images;
      for (const std::string& image : item.images) {
        images.push_back(absl::StrCat(wanted.images, "/", image));
      }
      ASSIGN_OR_RETURN(const at::Tensor rows, answerer.Rows(images, item.question, item.answer));
      calibration.Add(rows);
    }
    return calibration.Find(model::Packing(quantization, at::kFloat).layers);
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(error.what_without_backtrace());
  }
}

absl::StatusOr<std::string> Write(const std::string& checkpoint, model::Quantization quantization,
                                  const std::optional<CalibrationData>& calibration,
                                  const std::string& folder) {
  model::Folds folds;
  if (calibration) {
    ASSIGN_OR_RETURN(folds, Calibrate(checkpoint, quantization, *calibration));
  }
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
  RETURN_IF_ERROR(model::SaveQuantized(checkpoint, quantization, folder, folds));
  ASSIGN_OR_RETURN(manifest.files, model::DescribeFiles(folder));
  const std::string json = model::ManifestJson(manifest);
  RETURN_IF_ERROR(WriteFile(absl::StrCat(folder, "/", model::kManifestFile), json));
  RETURN_IF_ERROR(SyncFolder(folder));
  return model::VersionOf(json);
}

}  // namespace

absl::StatusOr<std::string> QuantizeCheckpoint(const std::string& checkpoint,
                                               const std::string& format, const std::string& folder,
                                               const std::optional<CalibrationData>& calibration) {
  const std::optional<model::Quantization> quantization = model::QuantizationOf(format);
  if (!quantization || !model::IsStored(*quantization)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--format is \"", format, "\", expected int8 or int4"));
  }
  if (calibration && *quantization != model::Quantization::kInt4) {
    return absl::InvalidArgumentError(
        absl::StrCat("--calibrate is for --format int4, not for ", format));
  }
  std::error_code error;
  if (std::filesystem::exists(folder, error)) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder, " is there already, expected a new folder"));
  }
  absl::StatusOr<std::string> version = Write(checkpoint, *quantization, calibration, folder);
  if (!version.ok()) std::filesystem::remove_all(folder, error);
  return version;
}

}  // namespace llava::training
