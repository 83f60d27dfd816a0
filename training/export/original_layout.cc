#include "training/export/original_layout.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/count_nonzero.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/item.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/safetensors_writer.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/checkpoint/weight_names.h"
#include "model/config/config.h"
#include "model/image/preprocess.h"
#include "model/network/weights.h"
#include "model/tensors/element_type.h"
#include "model/tensors/named_tensor.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "training/assemble/converted_tokenizer.h"
#include "training/assemble/processor_files.h"
#include "training/export/original_config.h"
#include "training/export/projector_file.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr char kTowerFolder[] = "/vision_tower";
constexpr char kWeightFile[] = "/model.safetensors";

// A checkpoint that is being converted.
struct Source {
  std::string folder;
  model::LlavaConfig config;
  model::PreprocessSettings preprocess;
  model::Checkpoint checkpoint;
  int pieces = 0;  // of tokenizer.model
};

using model::NamedTensor;

absl::StatusOr<int> PiecesOf(const std::string& folder, const model::LlavaConfig& config,
                             const model::Tokenizer& tokenizer) {
  if (!IsThere(folder + "/tokenizer.model")) {
    return absl::UnimplementedError(absl::StrCat(
        folder, ": holds no tokenizer.model, and the original code reads no other tokenizer"));
  }
  ASSIGN_OR_RETURN(const model::Tokenizer slow,
                   model::Tokenizer::Load(folder, model::Layout::kOriginal));
  const int pieces = slow.base().size();
  for (int id = 0; id < pieces; ++id) {
    if (tokenizer.TokenText(id) == slow.TokenText(id)) continue;
    return absl::UnimplementedError(
        absl::StrCat(folder, ": the token ", id, " is \"", tokenizer.TokenText(id),
                     "\" in tokenizer.json and \"", slow.TokenText(id),
                     "\" in tokenizer.model, which is all that the original code reads"));
  }
  for (const model::AddedToken& token : tokenizer.added_tokens()) {
    const bool left_out = token.id == config.image_token_id || token.id == config.pad_token_id;
    if (token.id < pieces || left_out) continue;
    return absl::UnimplementedError(
        absl::StrCat(folder, ": the token ", token.content, " was added to the ", pieces,
                     " pieces of tokenizer.model: such vocabularies are not written"));
  }
  if (config.image_token_id >= pieces) return pieces;
  return absl::UnimplementedError(absl::StrCat(folder, ": <image> has the id ",
                                               config.image_token_id, ", expected one behind the ",
                                               pieces, " pieces of tokenizer.model"));
}

absl::StatusOr<at::Tensor> TensorOf(const model::Checkpoint& checkpoint, const std::string& name) {
  const auto found = checkpoint.tensors().find(name);
  if (found != checkpoint.tensors().end()) return model::TensorOf(found->second);
  return absl::NotFoundError(absl::StrCat("the checkpoint has no tensor ", name));
}

// The layers that the projector has in the original code.
absl::StatusOr<int> ProjectorDepth(const Source& source) {
  const model::ProjectorConfig& projector = source.config.projector;
  if (projector.depth == 1 || projector.activation == model::Activation::kGelu) {
    return projector.depth;
  }
  const std::string second = absl::StrCat(model::kProjectorPrefix, "linear_2.");
  if (projector.depth == 2 && projector.activation == model::Activation::kIdentity) {
    ASSIGN_OR_RETURN(const at::Tensor weight, TensorOf(source.checkpoint, second + "weight"));
    ASSIGN_OR_RETURN(const at::Tensor bias, TensorOf(source.checkpoint, second + "bias"));
    const bool changes_nothing = weight.dim() == 2 &&
                                 at::equal(weight, at::eye(weight.size(0), weight.options())) &&
                                 bias.count_nonzero().item<std::int64_t>() == 0;
    if (changes_nothing) return 1;
  }
  const std::string_view activation = model::ActivationName(projector.activation);
  return absl::UnimplementedError(absl::StrCat(source.folder, ": the projector's activation is ",
                                               AbslView(activation),
                                               ", expected gelu: the original code has no other"));
}

bool IsTower(const std::string& name) { return absl::StartsWith(name, model::kVisionPrefix); }

bool IsProjector(const std::string& name) {
  return absl::StartsWith(name, model::kProjectorPrefix);
}

// What the original calls a tensor that is none of the tower's.
absl::StatusOr<std::string> OriginalName(const std::string& name, int projector_depth) {
  if (IsProjector(name)) return OriginalProjectorName(name, projector_depth);
  if (name == model::kLmHeadName) return std::string("lm_head.weight");
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, model::kLanguagePrefix)) return absl::StrCat("model.", rest);
  return absl::UnimplementedError(absl::StrCat("the original code has no tensor ", name));
}

// Decoder and projector, as views of the files.
absl::StatusOr<std::vector<NamedTensor>> PartsOf(const Source& source, int projector_depth) {
  std::vector<NamedTensor> parts;
  for (const auto& [name, stored] : source.checkpoint.tensors()) {
    const bool left_out = IsProjector(name) && projector_depth < source.config.projector.depth &&
                          !absl::StrContains(name, "linear_1.");
    if (IsTower(name) || left_out) continue;
    if (name == model::kLmHeadName && source.config.text.tie_embeddings) continue;
    ASSIGN_OR_RETURN(std::string original, OriginalName(name, projector_depth));
    ASSIGN_OR_RETURN(at::Tensor tensor, model::TensorOf(stored));
    if (original == "model.embed_tokens.weight" || original == "lm_head.weight") {
      if (tensor.dim() != 2 || tensor.size(0) < source.pieces) {
        return absl::InvalidArgumentError(absl::StrCat(
            stored.file->path(), ": \"", stored.key, "\" has the shape ",
            model::ShapeText(tensor.sizes().vec()), ", expected a row for each of the ",
            source.pieces, " pieces of tokenizer.model"));
      }
      tensor = tensor.narrow(0, 0, source.pieces);
    }
    parts.push_back({std::move(original), std::move(tensor)});
  }
  return parts;
}

absl::Status WriteParts(const std::vector<NamedTensor>& parts, const std::string& path) {
  std::vector<model::TensorSpec> specs;
  for (const NamedTensor& part : parts) {
    ASSIGN_OR_RETURN(const model::DType dtype, model::DTypeOf(part.tensor.scalar_type()));
    specs.push_back({part.name, dtype, part.tensor.sizes().vec()});
  }
  ASSIGN_OR_RETURN(model::SafetensorsWriter writer,
                   model::SafetensorsWriter::Create(path, std::move(specs)));
  for (const NamedTensor& part : parts) {
    const at::Tensor dense = part.tensor.contiguous();
    RETURN_IF_ERROR(
        writer.Append({static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()}));
  }
  return writer.Close();
}

// The tower's folder, as CLIPVisionModel and CLIPImageProcessor read it.
absl::Status WriteTower(const Source& source, const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create ", folder));
  std::vector<NamedTensor> tensors;
  for (const auto& [name, stored] : source.checkpoint.tensors()) {
    if (!IsTower(name)) continue;
    ASSIGN_OR_RETURN(at::Tensor tensor, model::TensorOf(stored));
    tensors.push_back({std::string(absl::StripPrefix(name, "vision_tower.")), std::move(tensor)});
  }
  RETURN_IF_ERROR(WriteParts(tensors, folder + kWeightFile));
  RETURN_IF_ERROR(WriteFile(folder + "/config.json", TowerConfigJson(source.config)));
  // Padding is the model's affair in the original code, not the tower's.
  model::PreprocessSettings settings = source.preprocess;
  settings.aspect = model::ImageAspect::kCrop;
  RETURN_IF_ERROR(WritePreprocessorFile(source.config, settings, folder));
  return SyncFolder(folder);
}

absl::Status WriteProjector(const std::vector<NamedTensor>& parts, const std::string& folder) {
  std::vector<NamedTensor> projector;
  for (const NamedTensor& part : parts) {
    if (!absl::StartsWith(part.name, "model.mm_projector.")) continue;
    projector.push_back({part.name, part.tensor.contiguous()});
  }
  return WriteProjectorFile(folder + "/mm_projector.bin", projector);
}

// What the folder `tower` holds is what the checkpoint was trained with: INVALID_ARGUMENT names a
// tensor that is not the same in the checkpoint's numbers, or the preprocessing.
absl::Status CheckTower(const Source& source, const std::string& folder, const std::string& tower) {
  ASSIGN_OR_RETURN(const model::LlavaConfig config, model::ReadConfig(folder, tower));
  ASSIGN_OR_RETURN(const model::PreprocessSettings settings,
                   model::ReadPreprocessSettings(folder, config));
  constexpr char kAdvice[] = "without --vision-tower the checkpoint's own is written";
  if (config.vision != source.config.vision || settings != source.preprocess) {
    return absl::InvalidArgumentError(
        absl::StrCat(tower,
                     ": the sizes of this vision tower or its preprocessing are not those "
                     "of the checkpoint; ",
                     kAdvice));
  }
  ASSIGN_OR_RETURN(const model::Checkpoint written, model::Checkpoint::Open(folder, tower));
  for (const auto& [name, stored] : source.checkpoint.tensors()) {
    if (!IsTower(name)) continue;
    ASSIGN_OR_RETURN(const at::Tensor own, model::TensorOf(stored));
    absl::StatusOr<at::Tensor> other = TensorOf(written, name);
    if (!other.ok()) return Annotate(other.status(), tower);
    if (other->sizes() == own.sizes() && at::equal(other->to(own.scalar_type()), own)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(tower, ": ", name, " is not the checkpoint's; ", kAdvice));
  }
  return absl::OkStatus();
}

absl::StatusOr<Source> OpenSource(const std::string& folder) {
  ASSIGN_OR_RETURN(model::LlavaConfig config, model::ReadConfig(folder));
  RETURN_IF_ERROR(Annotate(CheckOriginalHas(config), folder));
  ASSIGN_OR_RETURN(model::PreprocessSettings preprocess,
                   model::ReadPreprocessSettings(folder, config));
  ASSIGN_OR_RETURN(model::Checkpoint checkpoint, model::Checkpoint::Open(folder));
  config.text.tie_embeddings = checkpoint.IsHeadTied(config.text.tie_embeddings);
  return Source{folder, std::move(config), preprocess, std::move(checkpoint)};
}

absl::Status Write(const Source& source, const model::LlavaConfig& written,
                   const std::string& folder) {
  ASSIGN_OR_RETURN(const std::vector<NamedTensor> parts, PartsOf(source, written.projector.depth));
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create ", folder));
  RETURN_IF_ERROR(WriteParts(parts, folder + kWeightFile));
  RETURN_IF_ERROR(WriteProjector(parts, folder));
  RETURN_IF_ERROR(WriteFile(folder + "/config.json", OriginalConfigJson(written)));
  RETURN_IF_ERROR(WriteFile(folder + "/generation_config.json", GenerationConfigJson(written)));
  constexpr std::size_t kMaxModelBytes = std::size_t{64} << 20;
  ASSIGN_OR_RETURN(const std::string pieces,
                   ReadFile(source.folder + "/tokenizer.model", kMaxModelBytes));
  RETURN_IF_ERROR(WriteFile(folder + "/tokenizer.model", pieces));
  ASSIGN_OR_RETURN(const model::ChatTemplate chat_template,
                   model::ChatTemplate::ForCheckpoint(source.folder, source.config));
  return WriteFile(folder + "/chat_template.jinja", chat_template.Jinja());
}

absl::StatusOr<std::string> Convert(const std::string& checkpoint, const std::string& vision_tower,
                                    const std::string& folder) {
  ASSIGN_OR_RETURN(Source source, OpenSource(checkpoint));
  ASSIGN_OR_RETURN(const model::Tokenizer tokenizer,
                   model::Tokenizer::Load(checkpoint, source.config.layout));
  ASSIGN_OR_RETURN(source.pieces, PiecesOf(checkpoint, source.config, tokenizer));
  model::LlavaConfig written = source.config;
  ASSIGN_OR_RETURN(written.projector.depth, ProjectorDepth(source));
  written.text.vocab_size = source.pieces;
  written.pad_token_id = tokenizer.unk_id();
  written.image_aspect = source.preprocess.aspect;
  const std::string own_tower = fs::absolute(folder + kTowerFolder).lexically_normal().string();
  written.vision_tower = vision_tower.empty() ? own_tower : vision_tower;
  RETURN_IF_ERROR(Write(source, written, folder));
  ASSIGN_OR_RETURN(std::string note, WriteSlowTokenizerFiles(tokenizer, source.pieces,
                                                             written.text.max_positions, folder));
  RETURN_IF_ERROR(SyncFolder(folder));
  if (vision_tower.empty()) {
    RETURN_IF_ERROR(WriteTower(source, own_tower));
  }
  std::error_code error;
  if (fs::is_directory(written.vision_tower, error)) {
    RETURN_IF_ERROR(CheckTower(source, folder, written.vision_tower));
  }
  return note;
}

}  // namespace

absl::StatusOr<std::string> ConvertToOriginal(const std::string& checkpoint,
                                              const std::string& vision_tower,
                                              const std::string& folder) {
  const at::NoGradGuard no_grad;
  std::error_code error;
  if (fs::exists(folder, error)) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder, " is there already, expected a new folder"));
  }
  absl::StatusOr<std::string> note = Convert(checkpoint, vision_tower, folder);
  if (!note.ok()) fs::remove_all(folder, error);
  return note;
}

}  // namespace llava::training
