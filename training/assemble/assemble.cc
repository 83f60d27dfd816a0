#include "training/assemble/assemble.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/tensor_file.h"
#include "model/checkpoint/weight_names.h"
#include "model/image/preprocess.h"
#include "model/network/checkpoint_writer.h"
#include "model/network/llava.h"
#include "model/network/weights.h"
#include "training/assemble/added_tokens.h"
#include "training/assemble/processor_files.h"
#include "training/assemble/vocabulary_rows.h"
#include "training/data/conversation_builder.h"
#include "training/objective/random_weights.h"

namespace llava::training {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

// The tensors of a projector's file by their names in the model; none without a file.
absl::StatusOr<Tensors> ReadProjector(const std::string& file) {
  Tensors tensors;
  if (file.empty()) return tensors;
  ASSIGN_OR_RETURN(const model::TensorFile opened, model::OpenTensorFile(file));
  for (const auto& [key, stored] : opened.tensors) {
    const auto name = model::CanonicalName(key);
    if (!name.has_value() || !absl::StartsWith(*name, model::kProjectorPrefix)) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": \"", key, "\" is no tensor of a projector"));
    }
    ASSIGN_OR_RETURN(tensors[*name], model::TensorOf({stored, opened.file, key}));
  }
  return tensors;
}

// The parts' weights as those of one model.
class JoinedWeights final : public model::WeightSource {
 public:
  JoinedWeights(model::CheckpointWeights& parts, const PartsConfig& config, Tensors projector,
                const AssembleOptions& options)
      : parts_(parts), config_(config), projector_(std::move(projector)), options_(options) {}

  at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) override {
    at::Tensor tensor = Make(name, shape);
    Keep(name, tensor);
    return tensor;
  }

  const absl::Status& status() const { return status_.ok() ? parts_.status() : status_; }

 private:
  at::Tensor Make(const std::string& name, const std::vector<std::int64_t>& shape) {
    if (absl::StartsWith(name, model::kProjectorPrefix)) return MakeProjector(name, shape);
    if (name == model::kImageNewlineName) {
      const double deviation = 1.0 / std::sqrt(static_cast<double>(shape.front()));
      return RandomNormal(shape, deviation, options_.seed, name);
    }
    const bool is_table = name == absl::StrCat(model::kLanguagePrefix, "embed_tokens.weight") ||
                          name == model::kLmHeadName;
    if (!is_table) return parts_.Take(name, shape);
    const at::Tensor table = parts_.Take(name, {config_.language_rows, shape[1]});
    return status().ok() ? WithMeanRows(table, shape[0]) : table;
  }

  at::Tensor MakeProjector(const std::string& name, const std::vector<std::int64_t>& shape) {
    const at::Tensor fresh = shape.size() == 1
                                 ? at::zeros(shape, at::kFloat)
                                 : RandomNormal(shape, config_.deviation, options_.seed, name);
    if (options_.projector_file.empty()) return fresh;
    const auto found = projector_.find(name);
    if (found != projector_.end() && found->second.sizes() == fresh.sizes()) return found->second;
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(
          absl::StrCat(options_.projector_file, ": ", found == projector_.end() ? "lacks " : "has ",
                       name, found == projector_.end() ? "" : " in another shape", ", expected [",
                       absl::StrJoin(shape, ", "), "]"));
    }
    return fresh;
  }

  model::CheckpointWeights& parts_;
  const PartsConfig& config_;
  const Tensors projector_;
  const AssembleOptions& options_;
  absl::Status status_;
};

// The weights of the whole, and those of the tower that only transformers asks for.
absl::StatusOr<Tensors> JoinWeights(const model::Checkpoint& checkpoint, const PartsConfig& parts,
                                    const AssembleOptions& options) {
  ASSIGN_OR_RETURN(Tensors projector, ReadProjector(options.projector_file));
  const std::size_t given = projector.size();
  model::CheckpointWeights stored(checkpoint, {.dtype = std::nullopt});
  JoinedWeights joined(stored, parts, std::move(projector), options);
  const model::Llava model(parts.config, joined);
  RETURN_IF_ERROR(joined.status());
  std::vector<std::string> dormant = model.vision_tower().DormantPrefixes();
  if (parts.config.text.tie_embeddings) dormant.emplace_back(model::kLmHeadName);
  RETURN_IF_ERROR(stored.CheckNothingLeft(dormant));
  Tensors weights = model.weights();
  std::size_t needed = 0;
  for (const auto& [name, tensor] : weights) {
    needed += absl::StartsWith(name, model::kProjectorPrefix) ? 1 : 0;
  }
  if (given > needed) {
    return absl::InvalidArgumentError(absl::StrCat(options.projector_file, ": has ", given,
                                                   " tensors, expected the ", needed,
                                                   " of the projector"));
  }
  const std::string head = absl::StrCat(model::kVisionPrefix, "head.");
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (weights.contains(name) || name == model::kLmHeadName) continue;
    if (absl::StartsWith(name, head)) continue;  // vision_use_head is false
    ASSIGN_OR_RETURN(weights[name], model::TensorOf(tensor));
  }
  return weights;
}

absl::StatusOr<std::string> TemplateText(const AssembleOptions& options,
                                         const model::LlavaConfig& config) {
  std::string name = options.chat_template;
  if (name.empty()) {
    const std::string& family = config.text.model_type;
    name = family == "mistral" ? "mistral" : family.starts_with("qwen") ? "chatml" : "v1";
  }
  ASSIGN_OR_RETURN(const model::ChatTemplate chat_template, TrainingTemplate(name));
  return chat_template.Jinja();
}

absl::Status CheckNoneLies(const model::Checkpoint& checkpoint, const std::string& folder) {
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (!absl::StartsWith(name, model::kProjectorPrefix)) continue;
    return absl::InvalidArgumentError(absl::StrCat(folder, ": holds a projector (", tensor.key,
                                                   "), expected a language model alone"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Assemble(const AssembleOptions& options, const std::string& folder) {
  const at::NoGradGuard no_grad;
  const std::string& language = options.parts.language_model;
  ASSIGN_OR_RETURN(const VocabularyPlan vocabulary, PlanVocabulary(language));
  ASSIGN_OR_RETURN(const PartsConfig parts, JoinConfigs(options.parts, vocabulary));
  ASSIGN_OR_RETURN(const std::string chat_template, TemplateText(options, parts.config));
  ASSIGN_OR_RETURN(const model::PreprocessSettings preprocess,
                   model::ReadPreprocessSettings(options.parts.vision_tower, parts.config));
  ASSIGN_OR_RETURN(const model::Checkpoint checkpoint,
                   model::Checkpoint::Open(language, options.parts.vision_tower));
  RETURN_IF_ERROR(CheckNoneLies(checkpoint, language));
  ASSIGN_OR_RETURN(const Tensors weights, JoinWeights(checkpoint, parts, options));
  model::SaveOptions save;
  save.source_dir = language;
  save.chat_template = chat_template;
  save.dtype =
      weights.at(absl::StrCat(model::kLanguagePrefix, "embed_tokens.weight")).scalar_type();
  RETURN_IF_ERROR(model::SaveCheckpoint(parts.config, weights, folder, save));
  RETURN_IF_ERROR(WriteFile(folder + "/config.json", parts.json));
  RETURN_IF_ERROR(WriteTokenizerWith(vocabulary, language, folder));
  RETURN_IF_ERROR(WriteProcessorFiles(parts.config, preprocess, folder));
  return SyncFolder(folder);
}

}  // namespace llava::training
