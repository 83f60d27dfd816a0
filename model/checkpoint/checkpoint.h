// The weight files of a checkpoint directory as one table of tensors under the names of
// model/checkpoint/weight_names.h, whatever the files' format, sharding and layout.
#ifndef LLAVA_MODEL_CHECKPOINT_CHECKPOINT_H_
#define LLAVA_MODEL_CHECKPOINT_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/checkpoint/weight_names.h"
#include "model/config/foreign_codes.h"

namespace llava::model {

struct CodedWeight;  // model/checkpoint/coded_weight.h

struct CheckpointTensor {
  StoredTensor stored;
  std::shared_ptr<const MappedFile> file;  // keeps the bytes alive
  std::string key;                         // as the file spells it
  // Where AWQ or GPTQ quantised a matrix: its codes, of qweight's file and key. `stored` has its
  // shape and the dtype of its numbers, F32, but no bytes.
  std::shared_ptr<const CodedWeight> coded = nullptr;
};

// Immutable; hence thread-safe. Cheap: maps the files, reads only their headers.
class Checkpoint {
 public:
  using Tensors = std::map<std::string, CheckpointTensor, std::less<>>;

  // Reads model.safetensors(.index.json) or pytorch_model.bin(.index.json) of `directory`, with
  // mm_projector.bin where the projector is not among them, and the CLIP model in
  // `vision_tower_directory` (unless that is empty) where the tower is not among them: a tower
  // that was tuned lies in the checkpoint itself. Errors name file and key: NOT_FOUND for a file
  // that is not there (an absent shard, no weights at all), INVALID_ARGUMENT for an index that
  // does not fit its shards, a tensor that no LLaVA has, or one that comes twice; those of
  // JoinCodeParts. `codes`: what config.json says of matrices that lie there as codes, which are an
  // error where it says nothing.
  static absl::StatusOr<Checkpoint> Open(const std::string& directory,
                                         const std::string& vision_tower_directory = "",
                                         const std::optional<ForeignCodes>& codes = std::nullopt);

  const Tensors& tensors() const { return tensors_; }

  // Whether the head (lm_head) is the embedding table, given the configuration's flag: where both
  // are stored and differ, they are two, whatever the flag says. Reads both when it is true.
  bool IsHeadTied(bool tie_word_embeddings) const;

  // The weight files in the order they were read, full paths.
  const std::vector<std::string>& files() const { return files_; }
  NameLayout layout() const { return layout_; }

 private:
  Checkpoint() = default;

  Tensors tensors_;
  std::vector<std::string> files_;
  NameLayout layout_ = NameLayout::kHuggingFace;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_CHECKPOINT_H_
