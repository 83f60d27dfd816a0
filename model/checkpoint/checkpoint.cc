#include "model/checkpoint/checkpoint.h"

#include <filesystem>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/checkpoint/coded_weight.h"
#include "model/checkpoint/tensor_file.h"
#include "model/checkpoint/weight_files.h"

namespace llava::model {
namespace {

namespace fs = std::filesystem;

constexpr char kProjectorFile[] = "mm_projector.bin";

using NameOf = std::optional<std::string> (*)(std::string_view key);

struct Collected {
  Checkpoint::Tensors tensors;
  // The parts of a matrix of codes by the name that its numbers have.
  std::map<std::string, std::map<std::string, CheckpointTensor>> coded;
  std::vector<std::string> files;
  std::optional<NameLayout> layout;
};

bool HasAny(const Checkpoint::Tensors& tensors, std::string_view prefix) {
  const auto at = tensors.lower_bound(prefix);
  return at != tensors.end() && at->first.compare(0, prefix.size(), prefix) == 0;
}

void Merge(std::optional<NameLayout>& layout, std::optional<NameLayout> seen) {
  if (!seen.has_value()) return;
  layout = !layout.has_value() || layout == seen ? seen : NameLayout::kMixed;
}

absl::Status Twice(const std::string& path, const std::string& key, const CheckpointTensor& other) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": \"", key, "\" is the same tensor as \"",
                                                 other.key, "\" of ", other.file->path()));
}

absl::Status Add(Collected& to, const std::string& key, CheckpointTensor tensor, NameOf name_of) {
  const auto part = CodePartOf(key);
  const auto name = name_of(part ? absl::StrCat(AbslView(part->module), ".weight") : key);
  const std::string path = tensor.file->path();
  if (!name.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": \"", key, "\" is no tensor of a LLaVA model"));
  }
  Merge(to.layout, LayoutOf(key));
  if (part) {
    const auto [at, is_new] = to.coded[*name].emplace(std::string(part->name), std::move(tensor));
    return is_new ? absl::OkStatus() : Twice(path, key, at->second);
  }
  const auto [at, is_new] = to.tensors.emplace(*name, std::move(tensor));
  return is_new ? absl::OkStatus() : Twice(path, key, at->second);
}

// Makes tensors of the parts of matrices of codes.
absl::Status JoinCoded(Collected& to, const std::optional<ForeignCodes>& codes) {
  for (const auto& [name, parts] : std::exchange(to.coded, {})) {
    const CheckpointTensor& first = parts.begin()->second;
    if (!codes) {
      return absl::InvalidArgumentError(absl::StrCat(
          first.file->path(), ": \"", first.key,
          "\" is a part of a quantised matrix: expected numbers, or a quantization_config in "
          "config.json where what AWQ and GPTQ quantised is read"));
    }
    ASSIGN_OR_RETURN(CodedWeight weight, JoinCodeParts(parts, *codes));
    CheckpointTensor tensor = weight.qweight;
    tensor.stored = {
        .dtype = DType::kFloat32, .shape = {weight.out, weight.in}, .strides = {}, .bytes = {}};
    tensor.coded = std::make_shared<const CodedWeight>(std::move(weight));
    const std::string path = tensor.file->path(), key = tensor.key;
    const auto [at, is_new] = to.tensors.emplace(name, std::move(tensor));
    if (!is_new) return Twice(path, key, at->second);
  }
  return absl::OkStatus();
}

// The index and the shard must agree on who holds `key`.
absl::Status CheckIndexed(const WeightFiles& files, const std::string& path,
                          const std::string& key) {
  if (files.index_path.empty()) return absl::OkStatus();
  const auto at = files.keys.find(key);
  if (at == files.keys.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": holds \"", key, "\", which ", files.index_path, " does not name"));
  }
  if (at->second != path) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": holds \"", key, "\", which ",
                                                   files.index_path, " places in ", at->second));
  }
  return absl::OkStatus();
}

// Reads one file; keys that `skip` wants are left out.
absl::StatusOr<std::size_t> AddFile(Collected& to, const WeightFiles& files,
                                    const std::string& path, NameOf name_of,
                                    const std::function<bool(std::string_view)>& skip) {
  ASSIGN_OR_RETURN(TensorFile opened, OpenTensorFile(path));
  const std::size_t found = opened.tensors.size();
  to.files.push_back(path);
  for (auto& [key, stored] : opened.tensors) {
    RETURN_IF_ERROR(CheckIndexed(files, path, key));
    if (IsStrayBuffer(key) || skip(key)) continue;
    RETURN_IF_ERROR(
        Add(to, key, {.stored = std::move(stored), .file = opened.file, .key = key}, name_of));
  }
  return found;
}

absl::Status AddFiles(Collected& to, const std::string& directory, NameOf name_of,
                      const std::function<bool(std::string_view)>& skip) {
  ASSIGN_OR_RETURN(const WeightFiles files, FindWeightFiles(directory));
  std::size_t found = 0;
  for (const std::string& path : files.paths) {
    ASSIGN_OR_RETURN(const std::size_t in_file, AddFile(to, files, path, name_of, skip));
    found += in_file;
  }
  if (files.index_path.empty() || found == files.keys.size()) return absl::OkStatus();
  for (const auto& [key, path] : files.keys) {
    ASSIGN_OR_RETURN(const TensorFile opened, OpenTensorFile(path));
    if (opened.tensors.contains(key)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(files.index_path, ": places \"", key, "\" in ", path, ", which lacks it"));
  }
  return absl::OkStatus();
}

bool KeepAll(std::string_view) { return false; }

// What a CLIP directory holds beside the tower.
bool IsClipTextHalf(std::string_view key) { return !CanonicalClipName(key).has_value(); }

// The projector of the original layout lies in the shards, in a file of its own, or in both.
absl::Status AddProjectorFile(Collected& to, const std::string& directory) {
  const std::string path = (fs::path(directory) / kProjectorFile).string();
  if (HasAny(to.tensors, kProjectorPrefix) || !IsThere(path)) return absl::OkStatus();
  return AddFile(to, WeightFiles{}, path, CanonicalName, KeepAll).status();
}

absl::Status AddVisionTower(Collected& to, const std::string& directory) {
  if (directory.empty() || HasAny(to.tensors, kVisionPrefix)) return absl::OkStatus();
  RETURN_IF_ERROR(AddFiles(to, directory, CanonicalClipName, IsClipTextHalf));
  if (HasAny(to.tensors, kVisionPrefix)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(directory, ": holds no CLIP vision tower"));
}

bool IsSame(const StoredTensor& a, const StoredTensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.strides == b.strides && a.bytes == b.bytes;
}

}  // namespace

bool Checkpoint::IsHeadTied(bool tie_word_embeddings) const {
  const auto head = tensors_.find(kLmHeadName);
  const auto embedding = tensors_.find(absl::StrCat(kLanguagePrefix, "embed_tokens.weight"));
  if (!tie_word_embeddings || head == tensors_.end() || embedding == tensors_.end()) {
    return tie_word_embeddings;
  }
  return IsSame(head->second.stored, embedding->second.stored);
}

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& directory,
                                            const std::string& vision_tower_directory,
                                            const std::optional<ForeignCodes>& codes) {
  Collected found;
  RETURN_IF_ERROR(AddFiles(found, directory, CanonicalName, KeepAll));
  RETURN_IF_ERROR(JoinCoded(found, codes));
  RETURN_IF_ERROR(AddProjectorFile(found, directory));
  const NameLayout layout = found.layout.value_or(NameLayout::kMixed);
  RETURN_IF_ERROR(AddVisionTower(found, vision_tower_directory));
  RETURN_IF_ERROR(JoinCoded(found, codes));
  Checkpoint checkpoint;
  checkpoint.tensors_ = std::move(found.tensors);
  checkpoint.files_ = std::move(found.files);
  checkpoint.layout_ = layout;
  return checkpoint;
}

}  // namespace llava::model
