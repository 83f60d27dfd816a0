// A LLaVA that has not been trained yet from a language model, a vision tower and a new projector:
// what the first stage of the papers' recipes begins with.
#ifndef LLAVA_TRAINING_ASSEMBLE_ASSEMBLE_H_
#define LLAVA_TRAINING_ASSEMBLE_ASSEMBLE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "training/assemble/parts_config.h"

namespace llava::training {

struct AssembleOptions {
  PartsOptions parts;
  // The projector's weights instead of new ones: mm_projector.bin or .safetensors, in the names of
  // the original code or of Hugging Face's. Empty: new ones.
  std::string projector_file = {};
  std::string chat_template = {};  // see TrainingTemplate; empty: that of the language model's kind
  std::uint64_t seed = 42;         // of the new projector
};

// Writes `folder`, which must not hold weights yet (ALREADY_EXISTS), as transformers would save
// LlavaConfig(text_config, vision_config) with these weights: the tensors of the parts as they are,
// in the language model's dtype; rows of new tokens are the mean of all rows that were there; the
// projector is normal with the language model's initializer_range, its biases 0, the end of a
// picture's rows normal with 1/sqrt(width) as in the original code, and both depend on the seed
// alone. INVALID_ARGUMENT and NOT_FOUND name file and tensor or key: another family, a tensor
// that is missing, has another shape or no place.
absl::Status Assemble(const AssembleOptions& options, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ASSEMBLE_ASSEMBLE_H_
