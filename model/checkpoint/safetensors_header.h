// The JSON header of a safetensors file, read event by event so that a name that comes twice is
// seen. Only syntax and types are checked here; model/checkpoint/safetensors.h checks what the
// numbers say.
#ifndef LLAVA_MODEL_CHECKPOINT_SAFETENSORS_HEADER_H_
#define LLAVA_MODEL_CHECKPOINT_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

struct HeaderEntry {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape = {};  // each >= 0
  std::uint64_t begin = 0;               // bytes from the start of the data
  std::uint64_t end = 0;
};

// The entries in the order of the text, "__metadata__" left out. INVALID_ARGUMENT otherwise.
absl::StatusOr<std::vector<HeaderEntry>> ParseSafetensorsHeader(std::string_view text);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_SAFETENSORS_HEADER_H_
