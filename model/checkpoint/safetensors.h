// Reads the safetensors format: 8 bytes of little-endian header length, a JSON object that names
// each tensor's dtype, shape and offsets, then the data, without gaps. Nothing of it is trusted.
// Format: https://huggingface.co/docs/safetensors (section "Format").
#ifndef LLAVA_MODEL_CHECKPOINT_SAFETENSORS_H_
#define LLAVA_MODEL_CHECKPOINT_SAFETENSORS_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

// The longest header that is read, as in the reference implementation.
inline constexpr std::size_t kMaxSafetensorsHeaderBytes = 100'000'000;

// The tensors of a whole file; their bytes are views into `file`. DATA_LOSS when the file is
// shorter or longer than its header says, INVALID_ARGUMENT for any other lie (unknown dtype,
// negative or overflowing dimension, length that is not shape x dtype, overlap, gap, duplicate
// name, malformed JSON). Messages name the tensor, what was expected and what was found; the
// caller adds the file's name. Pure; safe on any bytes.
absl::StatusOr<TensorMap> ParseSafetensors(std::string_view file);

// The same; reads the header past the mapping, so that a file that is cut meanwhile is DATA_LOSS.
absl::StatusOr<TensorMap> ReadSafetensors(const MappedFile& file);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_SAFETENSORS_H_
