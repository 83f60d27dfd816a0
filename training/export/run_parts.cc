#include "training/export/run_parts.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/weight_names.h"
#include "model/network/llava.h"
#include "model/tensors/tensor_files.h"
#include "training/distributed/ranks.h"
#include "training/export/peft_adapter.h"
#include "training/export/projector_file.h"
#include "training/optim/state_store.h"
#include "training/optim/trainer.h"
#include "training/run/opened_run.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

using model::NamedTensor;

absl::StatusOr<SavedState> NewestState(const Recipe& recipe) {
  Ranks alone;
  ASSIGN_OR_RETURN(std::optional<SavedState> saved,
                   StateStore(StateFolder(recipe), recipe.keep, alone).LoadNewest());
  if (saved.has_value()) return *std::move(saved);
  return absl::NotFoundError(absl::StrCat(StateFolder(recipe), ": no saved state"));
}

// The last stage with adapters that has begun.
absl::StatusOr<std::int64_t> FindStage(const Recipe& recipe, const Progress& progress) {
  for (std::int64_t i = StagesBegun(progress) - 1; i >= 0; --i) {
    if (recipe.stages[i].lora.rank > 0) return i;
  }
  return absl::NotFoundError(
      absl::StrCat(recipe.output, ": no stage with lora has begun, so there are no adapters"));
}

// Adapters change the weights that the run began with, and nothing else of the decoder.
absl::Status CheckBase(const Recipe& recipe, std::int64_t stage) {
  if (recipe.model.checkpoint.empty()) {
    return absl::FailedPreconditionError(
        "model.from_scratch: adapters need a base model that others have too");
  }
  for (std::int64_t i = 0; i <= stage; ++i) {
    const StageOptions& earlier = recipe.stages[i];
    const bool decoder = i < stage && earlier.train_decoder;
    if (!decoder && !earlier.train_vision_tower) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("stage ", earlier.name, " trains the ", decoder ? "decoder" : "vision tower",
                     ", so that adapters over ", recipe.model.checkpoint,
                     " would not be what was trained; --out writes the whole checkpoint"));
  }
  return absl::OkStatus();
}

bool IsProjector(const NamedTensor& tensor) {
  return absl::StartsWith(tensor.name, model::kProjectorPrefix);
}

// Adapters and projector of a stage, in one list.
absl::StatusOr<std::vector<NamedTensor>> Learned(const Recipe& recipe, const SavedState& saved,
                                                 std::int64_t stage) {
  if (saved.progress.stage != stage) {
    const std::string file = AdaptersFile(recipe, stage);
    auto tensors = model::LoadTensors(file);
    if (!absl::IsNotFound(tensors.status())) return tensors;
    return absl::NotFoundError(absl::StrCat(
        file, ": the stage ", recipe.stages[stage].name,
        " ended in a version of llava-train that did not keep its adapters: run it again"));
  }
  std::vector<NamedTensor> tensors = AdaptersOf(saved);
  for (NamedTensor& weight : WeightsOf(saved)) {
    if (IsProjector(weight)) tensors.push_back(std::move(weight));
  }
  return tensors;
}

absl::StatusOr<std::vector<NamedTensor>> ProjectorOf(const model::Llava& model,
                                                     ProjectorNames names) {
  std::vector<NamedTensor> tensors;
  for (const auto& [name, weight] : model.weights()) {
    if (!absl::StartsWith(name, model::kProjectorPrefix)) continue;
    std::string written = name;
    if (names == ProjectorNames::kOriginal) {
      ASSIGN_OR_RETURN(written, OriginalProjectorName(name, model.config().projector.depth));
    }
    tensors.push_back({std::move(written), weight.detach().to(at::kFloat).contiguous()});
  }
  return tensors;
}

}  // namespace

absl::Status ExportPeft(const Recipe& recipe, const RunInputs& inputs, const std::string& folder) {
  ASSIGN_OR_RETURN(const SavedState saved, NewestState(recipe));
  ASSIGN_OR_RETURN(const std::int64_t stage, FindStage(recipe, saved.progress));
  RETURN_IF_ERROR(CheckBase(recipe, stage));
  ASSIGN_OR_RETURN(std::vector<NamedTensor> learned, Learned(recipe, saved, stage));
  PeftAdapter adapter;
  adapter.base = recipe.model.checkpoint;
  adapter.options = recipe.stages[stage].lora;
  for (NamedTensor& tensor : learned) {
    (IsProjector(tensor) ? adapter.projector : adapter.adapters).push_back(std::move(tensor));
  }
  RETURN_IF_ERROR(WritePeftAdapter(adapter, folder));
  model::Manifest manifest;
  manifest.parent = inputs.parent;
  manifest.recipe = recipe.text;
  manifest.data_fingerprint = TrainedDataFingerprint(inputs);
  // Where later stages have trained on, the adapters are those of an earlier step.
  if (stage + 1 >= StagesBegun(saved.progress)) manifest.step = saved.progress.total_steps;
  ASSIGN_OR_RETURN(manifest.files, model::DescribeFiles(folder));
  return WriteFile(absl::StrCat(folder, "/", model::kManifestFile), model::ManifestJson(manifest));
}

absl::Status ExportProjector(const Recipe& recipe, ProjectorNames names, const std::string& file) {
  if (IsThere(file)) return absl::AlreadyExistsError(absl::StrCat(file, ": is there already"));
  ASSIGN_OR_RETURN(const std::unique_ptr<model::Llava> model, LoadTrainedModel(recipe));
  ASSIGN_OR_RETURN(const std::vector<NamedTensor> tensors, ProjectorOf(*model, names));
  return WriteProjectorFile(file, tensors);
}

}  // namespace llava::training
