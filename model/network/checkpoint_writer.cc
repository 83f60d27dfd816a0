#include "model/network/checkpoint_writer.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/checkpoint/coded_weight.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/safetensors_writer.h"
#include "model/checkpoint/weight_files.h"
#include "model/config/rewritten_config.h"
#include "model/network/weights.h"
#include "model/tensors/tensor_files.h"

namespace llava::model {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// Beside config.json and generation_config.json, which are written anew.
constexpr const char* kCarriedFiles[] = {
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "video_preprocessor_config.json",
};

std::string Join(const std::string& directory, const std::string& name) {
  return (fs::path(directory) / name).string();
}

absl::StatusOr<std::string> DTypeText(at::ScalarType type) {
  if (type == at::kFloat) return std::string("float32");
  if (type == at::kHalf) return std::string("float16");
  if (type == at::kBFloat16) return std::string("bfloat16");
  return absl::InvalidArgumentError(absl::StrCat("checkpoints are written in float32, float16 or ",
                                                 "bfloat16, not in ", c10::toString(type)));
}

// Of the source's files those that stay as they are.
std::vector<std::string> CarriedNames(const SaveOptions& options) {
  std::vector<std::string> names;
  for (const std::string name : kCarriedFiles) {
    if (!options.chat_template.empty() && name.starts_with("chat_template.")) continue;
    if (IsThere(Join(options.source_dir, name))) names.push_back(name);
  }
  return names;
}

absl::Status CarryFiles(const SaveOptions& options, const std::string& to) {
  for (const std::string& name : CarriedNames(options)) {
    ASSIGN_OR_RETURN(const auto file, MappedFile::Open(Join(options.source_dir, name)));
    RETURN_IF_ERROR(WriteFile(Join(to, name), file->bytes()));
  }
  if (options.chat_template.empty()) return absl::OkStatus();
  return WriteFile(Join(to, "chat_template.jinja"), options.chat_template);
}

std::vector<NamedTensor> List(const std::map<std::string, at::Tensor>& tensors) {
  std::vector<NamedTensor> list;
  for (const auto& [name, tensor] : tensors) list.push_back({name, tensor});
  return list;
}

// The model's weights and the source's other tensors, by name.
absl::StatusOr<std::vector<NamedTensor>> WithDormant(
    const LlavaConfig& config, const std::map<std::string, at::Tensor>& weights,
    const std::string& source_dir) {
  std::map<std::string, at::Tensor> all = weights;
  if (absl::IsNotFound(FindWeightFiles(source_dir).status())) {
    return List(all);
  }
  ASSIGN_OR_RETURN(
      const Checkpoint source,
      Checkpoint::Open(source_dir, /*vision_tower_directory=*/"", config.foreign_codes));
  for (const auto& [name, tensor] : source.tensors()) {
    if (all.contains(name) || (config.text.tie_embeddings && name == kLmHeadName)) continue;
    ASSIGN_OR_RETURN(all[name], TensorOf(tensor));
  }
  return List(all);
}

using Shard = std::vector<NamedTensor>;

std::vector<Shard> Split(std::vector<NamedTensor> tensors, std::uint64_t element_size,
                         std::uint64_t max_bytes) {
  std::vector<Shard> shards(1);
  std::uint64_t used = 0;
  for (NamedTensor& named : tensors) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(named.tensor.numel()) * element_size;
    if (!shards.back().empty() && used + bytes > max_bytes) {
      shards.emplace_back();
      used = 0;
    }
    used += bytes;
    shards.back().push_back(std::move(named));
  }
  return shards;
}

std::string ShardName(std::size_t index, std::size_t count) {
  if (count == 1) return "model.safetensors";
  return absl::StrFormat("model-%05d-of-%05d.safetensors", index + 1, count);
}

absl::Status WriteShards(const std::vector<Shard>& shards, at::ScalarType dtype,
                         const std::string& directory) {
  json::object weight_map;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = ShardName(i, shards.size());
    RETURN_IF_ERROR(SaveTensorsAs(Join(directory, name), shards[i], dtype));
    for (const auto& [key, tensor] : shards[i]) {
      weight_map[key] = name;
      total += static_cast<std::uint64_t>(tensor.numel()) * c10::elementSize(dtype);
    }
  }
  if (shards.size() == 1) return absl::OkStatus();
  const json::object index = {{"metadata", {{"total_size", total}}},
                              {"weight_map", std::move(weight_map)}};
  return WriteFile(Join(directory, "model.safetensors.index.json"), json::serialize(index) + "\n");
}

std::string_view BytesOf(const at::Tensor& dense) {
  return {static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()};
}

// What a matrix becomes; nothing for other weights.
std::optional<WeightFormat> FormatOf(const std::string& name, const Packing& packing) {
  if (!IsProduct(name)) return std::nullopt;
  return IsDecoderProduct(name) ? packing.layers : packing.others;
}

// The names in order with what will be written of each.
absl::StatusOr<std::vector<TensorSpec>> QuantizedSpecs(const Checkpoint& source,
                                                       const Packing& packing, bool tied,
                                                       const Folds& folds) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : source.tensors()) {
    if (tied && name == kLmHeadName) continue;
    const StoredTensor& stored = tensor.stored;
    const auto format = FormatOf(name, packing);
    if (!format) {
      specs.push_back({name, folds.contains(name) ? DType::kFloat32 : stored.dtype, stored.shape});
      continue;
    }
    if (stored.shape.size() != 2) {
      return absl::InvalidArgumentError(absl::StrCat(tensor.file->path(), ": \"", tensor.key,
                                                     "\" has the shape ", ShapeText(stored.shape),
                                                     ", expected that of a matrix"));
    }
    const std::int64_t out = stored.shape[0], in = stored.shape[1];
    const bool int4 = *format == WeightFormat::kInt4;
    specs.push_back({name, int4 ? DType::kUint8 : DType::kInt8, {out, int4 ? (in + 1) / 2 : in}});
    specs.push_back({absl::StrCat(name, kScaleSuffix),
                     DType::kFloat32,
                     {out, (in + GroupOf(*format) - 1) / GroupOf(*format)}});
  }
  return specs;
}

absl::Status WriteQuantized(const Checkpoint& source, const Packing& packing, bool tied,
                            const Folds& folds, const std::string& path) {
  ASSIGN_OR_RETURN(std::vector<TensorSpec> specs, QuantizedSpecs(source, packing, tied, folds));
  ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, std::move(specs)));
  CheckpointWeights weights(source, {.dtype = std::nullopt, .verify = true});
  for (const auto& [name, tensor] : source.tensors()) {
    if (tied && name == kLmHeadName) continue;
    const std::vector<std::int64_t>& shape = tensor.stored.shape;
    const auto format = FormatOf(name, packing);
    const auto fold = folds.find(name);
    QuantizedMatrix matrix;
    if (!format || fold != folds.end()) {
      at::Tensor numbers = weights.Take(name, shape);
      RETURN_IF_ERROR(weights.status());
      if (fold != folds.end()) numbers = Folded(numbers, fold->second);
      if (!format) {
        RETURN_IF_ERROR(writer.Append(BytesOf(numbers)));
        continue;
      }
      matrix = QuantizeMatrix(numbers, *format);
    } else {
      ASSIGN_OR_RETURN(matrix, weights.Quantized(name, shape[0], shape[1], *format));
    }
    RETURN_IF_ERROR(writer.Append(BytesOf(matrix.codes)));
    RETURN_IF_ERROR(writer.Append(BytesOf(matrix.scales)));
  }
  return writer.Close();
}

// Of a matrix [out, in] in a format of codes, with its scales.
std::int64_t CodeBytes(WeightFormat format, std::int64_t out, std::int64_t in) {
  if (format == WeightFormat::kFp8) return out * (in + 4);
  const std::int64_t row = format == WeightFormat::kInt4 ? (in + 1) / 2 : in;
  return out * (row + (in + GroupOf(format) - 1) / GroupOf(format) * 4);
}

bool IsCodes(const StoredTensor& stored) {
  return stored.dtype == DType::kInt8 || stored.dtype == DType::kUint8;
}

absl::Status PrepareDirectory(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create ", directory));
  }
  const absl::StatusOr<WeightFiles> there = FindWeightFiles(directory);
  if (absl::IsNotFound(there.status())) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat(directory, " holds the weights of a model already"));
}

}  // namespace

absl::Status CheckCarried(const SaveOptions& options) {
  for (const std::string& name : CarriedNames(options)) {
    RETURN_IF_ERROR(MappedFile::Open(Join(options.source_dir, name)).status());
  }
  return absl::OkStatus();
}

absl::Status SaveCheckpoint(const LlavaConfig& config,
                            const std::map<std::string, at::Tensor>& weights,
                            const std::string& directory, const SaveOptions& options) {
  if (config.layout != Layout::kHuggingFace) {
    return absl::UnimplementedError(
        absl::StrCat("a model in the original layout is not written as Hugging Face checkpoint: "
                     "its image token has no row in the vocabulary (",
                     options.source_dir, ")"));
  }
  LlavaConfig written = config;
  ASSIGN_OR_RETURN(written.dtype, DTypeText(options.dtype));
  RETURN_IF_ERROR(PrepareDirectory(directory));
  RETURN_IF_ERROR(RewriteConfig(written, options.source_dir, directory));
  RETURN_IF_ERROR(CarryFiles(options, directory));
  ASSIGN_OR_RETURN(std::vector<NamedTensor> tensors,
                   WithDormant(config, weights, options.source_dir));
  const std::vector<Shard> shards =
      Split(std::move(tensors), c10::elementSize(options.dtype), options.max_shard_bytes);
  RETURN_IF_ERROR(WriteShards(shards, options.dtype, directory));
  return SyncFolder(directory);
}

absl::Status SaveCheckpoint(const Llava& model, const std::string& directory,
                            const SaveOptions& options) {
  return SaveCheckpoint(model.config(), model.weights(), directory, options);
}

absl::Status SaveQuantized(const std::string& source_dir, Quantization quantization,
                           const std::string& directory, const Folds& folds) {
  ASSIGN_OR_RETURN(LlavaConfig config, ReadConfig(source_dir));
  if (config.layout != Layout::kHuggingFace) {
    return absl::UnimplementedError(
        absl::StrCat(source_dir,
                     ": a checkpoint in the original layout is not quantised, expected "
                     "the Hugging Face layout (llava-train convert writes it)"));
  }
  if (config.quantization != Quantization::kNone) {
    return absl::InvalidArgumentError(
        absl::StrCat(source_dir, ": the weights are ", QuantizationName(config.quantization),
                     " already, expected those that they were made from"));
  }
  ASSIGN_OR_RETURN(
      const Checkpoint source,
      Checkpoint::Open(source_dir, /*vision_tower_directory=*/"", config.foreign_codes));
  config.text.tie_embeddings = source.IsHeadTied(config.text.tie_embeddings);
  config.quantization = quantization;
  RETURN_IF_ERROR(PrepareDirectory(directory));
  RETURN_IF_ERROR(RewriteConfig(config, source_dir, directory));
  RETURN_IF_ERROR(CarryFiles({.source_dir = source_dir}, directory));
  RETURN_IF_ERROR(WriteQuantized(source, Packing(quantization, at::kFloat),
                                 config.text.tie_embeddings, folds,
                                 Join(directory, "model.safetensors")));
  return SyncFolder(directory);
}

WeightMemory ServedMemory(const Checkpoint& checkpoint, Quantization quantization,
                          at::ScalarType dtype, bool on_gpu) {
  const Packing packing(quantization, dtype, on_gpu);
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  WeightMemory memory;
  const auto add = [&memory](std::string_view name, std::int64_t bytes) {
    memory.all += bytes;
    if (IsDecoderProduct(name)) memory.layers += bytes;
  };
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const StoredTensor& stored = tensor.stored;
    const auto bytes = static_cast<std::int64_t>(StoredBytes(tensor));
    const bool scales = absl::EndsWith(name, kScaleSuffix);
    if (IsCodes(stored) || scales) {
      std::string_view matrix = name;
      if (scales) matrix.remove_suffix(std::string_view(kScaleSuffix).size());
      const bool as_numbers = on_gpu && !IsDecoderProduct(matrix);
      const std::int64_t held = !as_numbers ? bytes : scales ? 0 : bytes * element;
      add(matrix, held);
      memory.largest = std::max({memory.largest, bytes, held});
      continue;
    }
    const auto count = static_cast<std::int64_t>(CheckedByteSize(stored.shape, 1).value_or(0));
    const auto wide = count * element;
    const WeightFormat format = IsDecoderProduct(name) ? packing.layers : packing.others;
    const bool codes = IsProduct(name) && stored.shape.size() == 2 &&
                       (GroupOf(format) > 0 || format == WeightFormat::kFp8);
    add(name, codes ? CodeBytes(format, stored.shape[0], stored.shape[1]) : wide);
    // In fp32 where AWQ or GPTQ made it, and then a layer's matrices are there at once.
    memory.largest = std::max(memory.largest, tensor.coded == nullptr ? wide : count * 8);
  }
  return memory;
}

}  // namespace llava::model
