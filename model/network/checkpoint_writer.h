// Writes a model as a Hugging Face LLaVA directory, which transformers and this software load, or
// as one of codes, which only this software loads; and what either will take in memory.
#ifndef LLAVA_MODEL_NETWORK_CHECKPOINT_WRITER_H_
#define LLAVA_MODEL_NETWORK_CHECKPOINT_WRITER_H_

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "model/checkpoint/checkpoint.h"
#include "model/config/config.h"
#include "model/network/calibration.h"
#include "model/network/llava.h"

namespace llava::model {

struct SaveOptions {
  // The checkpoint that the model came from: its tokenizer, templates, preprocessing and all of its
  // configuration (RewriteConfig) are carried along, and the tensors that LLaVA never reads but
  // transformers asks for. It may hold no weights, for a model that was trained from nothing.
  std::string source_dir;
  // The Jinja text of the template that the model was trained with; empty: the source's.
  std::string chat_template = {};
  at::ScalarType dtype = at::kBFloat16;           // float32, float16 or bfloat16
  std::uint64_t max_shard_bytes = 5'000'000'000;  // one tensor may be larger, alone in its shard
};

// Whether the files that are carried along can be read: asked before a model is trained for hours.
absl::Status CheckCarried(const SaveOptions& options);

// Creates `directory`, which must not hold weights yet (ALREADY_EXISTS), and writes config.json,
// generation_config.json, model.safetensors or shards with their index, and the files of the
// source. Every file is synced. Not atomic: write to a sibling and rename. UNIMPLEMENTED for a
// model read from the original layout, whose image token has no row in the vocabulary.
absl::Status SaveCheckpoint(const Llava& model, const std::string& directory,
                            const SaveOptions& options);

// The same of any weights under the names of model/checkpoint/weight_names.h.
absl::Status SaveCheckpoint(const LlavaConfig& config,
                            const std::map<std::string, at::Tensor>& weights,
                            const std::string& directory, const SaveOptions& options);

// The checkpoint in `source_dir` (Hugging Face layout) with its matrices as codes, as Packing makes
// them while loading, tensor by tensor: NAME holds codes and NAME_scale their scales
// (QuantizedMatrix), all other tensors are as they were. Matrices of AWQ and GPTQ become codes of
// ours as CodedMatrix::Quantized says. Into `directory` as above, one file of weights. With `folds`
// (Calibration) weights are multiplied before that; those that stay numbers are then float32.
// INVALID_ARGUMENT when it is quantised already; the errors of CheckpointWeights, NaN among them.
// REQUIRES: not kNone.
absl::Status SaveQuantized(const std::string& source_dir, Quantization quantization,
                           const std::string& directory, const Folds& folds = {});

struct WeightMemory {
  std::int64_t all = 0;      // bytes, but for what panels have beyond the last column
  std::int64_t largest = 0;  // bytes of the largest tensor as it is read beside them
  std::int64_t layers =
      0;  // of `all`: what several devices deal out among them (model::LayerShard)
};

// Of every tensor of the checkpoint, also those that are not needed for answers. Quantised as
// asked, or as it is stored; the others of `dtype`. GPUs have codes in the decoder's layers only.
WeightMemory ServedMemory(const Checkpoint& checkpoint, Quantization quantization,
                          at::ScalarType dtype, bool on_gpu = false);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_CHECKPOINT_WRITER_H_
