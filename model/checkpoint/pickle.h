// Reads the dictionaries of tensors that torch.save wrote (a zip archive with a pickle inside, the
// format since PyTorch 1.6) without executing anything: of the pickle language only literals,
// containers and the few names that rebuild tensors are known, everything else is an error.
// Format: torch/serialization.py and Python's pickletools.py describe it.
#ifndef LLAVA_MODEL_CHECKPOINT_PICKLE_H_
#define LLAVA_MODEL_CHECKPOINT_PICKLE_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

// The tensors of a file by their key in the dictionary; their bytes are views into `file`.
// INVALID_ARGUMENT that names the opcode, the global or the record otherwise, DATA_LOSS for a
// truncated archive. Pure; safe on any bytes, with bounds on depth and number of values.
absl::StatusOr<TensorMap> ParseTorchSave(std::string_view file);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_PICKLE_H_
