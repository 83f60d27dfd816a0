#include "training/run/publish_run.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/weight_names.h"
#include "model/network/checkpoint_writer.h"
#include "model/text/chat_template.h"
#include "training/data/conversation_builder.h"
#include "training/evaluate/score.h"
#include "training/run/answerer.h"
#include "training/run/drawn_scenes.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRecipeBytes = std::size_t{1} << 20;

absl::Status AddFile(const std::string& path, Sha256* sha) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::array<char, 1 << 16> buffer;
  while (in.read(buffer.data(), buffer.size()), in.gcount() > 0) {
    sha->Update({buffer.data(), static_cast<std::size_t>(in.gcount())});
  }
  return absl::OkStatus();
}

// The weights as they will be served, asked; fills in the manifest and writes the probes' images.
absl::Status Ask(const Recipe& recipe, const std::string& checkpoint, at::Device device,
                 model::Manifest* manifest,
                 const std::function<void(const std::string&)>& on_message) {
  const EvaluationOptions& evaluation = recipe.evaluation;
  std::string file = evaluation.file;
  std::string images = evaluation.images;
  ASSIGN_OR_RETURN(const std::unique_ptr<model::Llava> model,
                   model::Llava::Load(checkpoint, {.device = device}));
  if (evaluation.scenes.count > 0) {
    ASSIGN_OR_RETURN(const std::string folder,
                     DrawScenes(recipe.output, evaluation.scenes, scenes::Split::kHeldOut,
                                model->config().vision.patch_size));
    file = folder + "/instruct.jsonl";
    images = folder + "/images";
  }
  ASSIGN_OR_RETURN(const std::vector<EvaluationItem> items,
                   ReadEvaluationItems(file, evaluation.limit));
  ASSIGN_OR_RETURN(Answerer answerer, Answerer::Make(*model, checkpoint, ""));
  ASSIGN_OR_RETURN(const Scores scores, Evaluate(answerer, items, images));
  on_message(ToText(scores));
  manifest->evaluation = Shares(scores);
  ASSIGN_OR_RETURN(manifest->probes, MakeProbes(answerer, items, images, checkpoint,
                                                static_cast<int>(evaluation.probes)));
  return absl::OkStatus();
}

// The Jinja text of the template in which the model learned to converse; empty when that is the
// source's own.
absl::StatusOr<std::string> TrainedTemplate(const Recipe& recipe) {
  std::string jinja;
  for (const StageOptions& stage : recipe.stages) {
    const std::string& name = stage.data.chat_template;
    if (stage.objective != ObjectiveKind::kConversation || name == "plain") continue;
    jinja.clear();
    if (name == kServingTemplate) continue;
    ASSIGN_OR_RETURN(const model::ChatTemplate chat_template, TrainingTemplate(name));
    jinja = chat_template.Jinja();
  }
  return jinja;
}

}  // namespace

absl::Status SaveTrainedModel(const Recipe& recipe, const model::Llava& model,
                              const std::string& folder) {
  model::SaveOptions save;
  save.source_dir = ModelFolder(recipe);
  ASSIGN_OR_RETURN(save.chat_template, TrainedTemplate(recipe));
  std::map<std::string, at::Tensor> weights = model.weights();
  if (recipe.model.checkpoint.empty()) {
    // Never read by LLaVA, but transformers' CLIP has it.
    const std::string norm = absl::StrCat(model::kVisionPrefix, "post_layernorm.");
    const std::int64_t width = model.config().vision.hidden_size;
    weights.emplace(absl::StrCat(norm, "weight"), at::ones({width}, model.dtype()));
    weights.emplace(absl::StrCat(norm, "bias"), at::zeros({width}, model.dtype()));
  }
  return model::SaveCheckpoint(model.config(), weights, folder, save);
}

absl::StatusOr<std::string> DataFingerprint(const Recipe& recipe) {
  Sha256 sha;
  std::vector<std::string> seen;
  for (const StageOptions& stage : recipe.stages) {
    const ScenesOptions& scenes = stage.data.scenes;
    if (scenes.count > 0) {
      sha.Update(absl::StrCat("scenes ", scenes.level, " ", scenes.count, " ", scenes.turns, " ",
                              scenes.comparisons, " ", scenes.seed, "\n"));
      continue;
    }
    for (const std::string& file : stage.data.files) {
      if (std::find(seen.begin(), seen.end(), file) != seen.end()) continue;
      seen.push_back(file);
      RETURN_IF_ERROR(AddFile(file, &sha));
    }
  }
  return sha.Finish().Hex();
}

absl::StatusOr<PublishedVersion> PublishRun(
    const Recipe& recipe, const model::Llava& model, std::int64_t step,
    const std::function<void(const std::string&)>& on_message) {
  const std::string checkpoint = recipe.output + "/checkpoint";
  std::error_code error;
  fs::remove_all(checkpoint, error);
  RETURN_IF_ERROR(SaveTrainedModel(recipe, model, checkpoint));
  model::Manifest manifest;
  ASSIGN_OR_RETURN(manifest.recipe, ReadFile(recipe.file, kMaxRecipeBytes));
  ASSIGN_OR_RETURN(manifest.data_fingerprint, DataFingerprint(recipe));
  manifest.step = step;
  const auto parent = model::ReadManifest(ModelFolder(recipe));
  if (parent.ok()) manifest.parent = parent->version;
  if (recipe.evaluation.wanted()) {
    RETURN_IF_ERROR(Ask(recipe, checkpoint, model.device(), &manifest, on_message));
  }
  RealFiles files;
  fs::create_directories(recipe.publish, error);
  const auto write = [&checkpoint](const std::string& dir) {
    std::error_code copy_error;
    fs::copy(checkpoint, dir, fs::copy_options::recursive, copy_error);
    if (!copy_error) return absl::OkStatus();
    // The library calls a full disk an input/output error.
    std::error_code ignored;
    return absl::UnavailableError(absl::StrCat("copying to ", dir, ": ", copy_error.message(), " (",
                                               fs::space(dir, ignored).available,
                                               " bytes are free there)"));
  };
  ASSIGN_OR_RETURN(PublishedVersion published,
                   Publish(recipe.publish, std::move(manifest), write, files));
  if (recipe.keep_published > 0) {
    ASSIGN_OR_RETURN(
        const std::vector<std::string> deleted,
        DeleteOldVersions(recipe.publish, static_cast<int>(recipe.keep_published), files));
    for (const std::string& dir : deleted) on_message(absl::StrCat("deleted ", dir));
  }
  return published;
}

}  // namespace llava::training
