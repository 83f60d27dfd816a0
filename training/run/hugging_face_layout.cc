#include "training/run/hugging_face_layout.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/weight_names.h"
#include "model/config/config.h"
#include "model/image/preprocess.h"
#include "model/network/checkpoint_writer.h"
#include "model/network/weights.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "training/assemble/converted_tokenizer.h"
#include "training/assemble/processor_files.h"
#include "training/assemble/vocabulary_rows.h"

namespace llava::training {
namespace {

absl::Status CheckVocabulary(const model::Tokenizer& tokenizer, const model::LlavaConfig& config) {
  const int pieces = tokenizer.base().size();
  if (tokenizer.vocab_size() > pieces || config.image_start_end) {
    return absl::UnimplementedError(absl::StrCat(
        "the tokenizer has tokens beyond the ", pieces, " pieces of its model (",
        tokenizer.TokenText(pieces), "): such checkpoints of the original layout are not written"));
  }
  if (tokenizer.bos_id() == 1 && tokenizer.eos_id() == 2 && tokenizer.unk_id() == 0) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError("the tokenizer's <unk>, <s> and </s> are not its ids 0, 1 and 2");
}

model::LlavaConfig HuggingFaceConfig(const model::LlavaConfig& original, int pieces) {
  model::LlavaConfig config = original;
  if (original.projector.depth == 1) {
    config.projector.depth = 2;
    config.projector.activation = model::Activation::kIdentity;
  }
  config.layout = model::Layout::kHuggingFace;
  config.image_token_id = pieces;
  config.pad_token_id = pieces + 1;
  const int rows = PaddedRows(pieces + 2);
  config.text.vocab_size = std::max(original.text.vocab_size, rows);
  return config;
}

using Weights = std::map<std::string, at::Tensor>;

// The projector of the Hugging Face model always has two layers and fills a missing one with random
// numbers. A second one that changes nothing makes it the single layer that it was, exactly.
void AddIdentityLayer(const model::LlavaConfig& written, Weights& weights) {
  const std::string first = absl::StrCat(model::kProjectorPrefix, "linear_1.weight");
  const std::string second = absl::StrCat(model::kProjectorPrefix, "linear_2.");
  const at::TensorOptions options = weights.at(first).options();
  weights[second + "weight"] = at::eye(written.text.hidden_size, options);
  if (written.projector.bias) {
    weights[second + "bias"] = at::zeros({written.text.hidden_size}, options);
  }
}

absl::StatusOr<Weights> ReadWeights(const model::LlavaConfig& original,
                                    const model::LlavaConfig& written,
                                    const std::string& checkpoint) {
  ASSIGN_OR_RETURN(
      const model::Checkpoint source,
      model::Checkpoint::Open(checkpoint, original.vision_tower_dir, original.foreign_codes));
  Weights weights;
  for (const auto& [name, stored] : source.tensors()) {
    ASSIGN_OR_RETURN(at::Tensor tensor, model::TensorOf(stored));
    const bool is_table = name == absl::StrCat(model::kLanguagePrefix, "embed_tokens.weight") ||
                          name == model::kLmHeadName;
    if (is_table && (tensor.dim() != 2 || tensor.size(0) < written.image_token_id)) {
      return absl::InvalidArgumentError(
          absl::StrCat(checkpoint, ": ", name, " has fewer rows than the tokenizer has pieces"));
    }
    weights[name] = is_table ? WithMeanRows(tensor.narrow(0, 0, written.image_token_id),
                                            written.text.vocab_size)
                             : tensor;
  }
  if (original.projector.depth == 1) AddIdentityLayer(written, weights);
  return weights;
}

}  // namespace

absl::StatusOr<std::string> ConvertToHuggingFace(const std::string& checkpoint,
                                                 const std::string& vision_tower,
                                                 const std::string& folder) {
  const at::NoGradGuard no_grad;
  ASSIGN_OR_RETURN(const model::LlavaConfig original, model::ReadConfig(checkpoint, vision_tower));
  if (original.layout != model::Layout::kOriginal) {
    return absl::InvalidArgumentError(absl::StrCat(
        checkpoint, ": is a Hugging Face checkpoint already, expected one in the original layout"));
  }
  ASSIGN_OR_RETURN(const model::Tokenizer tokenizer,
                   model::Tokenizer::Load(checkpoint, original.layout));
  RETURN_IF_ERROR(Annotate(CheckVocabulary(tokenizer, original), checkpoint));
  ASSIGN_OR_RETURN(const model::ChatTemplate chat_template,
                   model::ChatTemplate::ForCheckpoint(checkpoint, original));
  ASSIGN_OR_RETURN(const model::PreprocessSettings preprocess,
                   model::ReadPreprocessSettings(checkpoint, original));
  const int pieces = tokenizer.base().size();
  const model::LlavaConfig written = HuggingFaceConfig(original, pieces);
  ASSIGN_OR_RETURN(const Weights weights, ReadWeights(original, written, checkpoint));
  model::SaveOptions save;
  save.source_dir = checkpoint;
  save.chat_template = chat_template.Jinja();
  save.dtype = weights.begin()->second.scalar_type();
  RETURN_IF_ERROR(model::SaveCheckpoint(written, weights, folder, save));
  ASSIGN_OR_RETURN(std::string note, WriteFastTokenizerFiles(tokenizer, folder));
  RETURN_IF_ERROR(WriteProcessorFiles(written, preprocess, folder));
  return note;
}

}  // namespace llava::training
