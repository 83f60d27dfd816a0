// A projector as a file of its own, in the names of the original code or of Hugging Face's.
#ifndef LLAVA_TRAINING_EXPORT_PROJECTOR_FILE_H_
#define LLAVA_TRAINING_EXPORT_PROJECTOR_FILE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tensors/named_tensor.h"

namespace llava::training {

// What the original code calls the projector's tensor `name` (model/checkpoint/weight_names.h) in a
// projector of so many linear layers: "model.mm_projector.0.weight" in nn.Sequential, or
// "model.mm_projector.weight" when it is alone. UNIMPLEMENTED: it has no place there.
absl::StatusOr<std::string> OriginalProjectorName(const std::string& name, int layers);

// Writes what torch.save writes of a dictionary of `tensors` (CPU, dense), which torch.load reads;
// or a safetensors file where the name ends in ".safetensors". Replaces the file, durably.
absl::Status WriteProjectorFile(const std::string& file,
                                const std::vector<model::NamedTensor>& tensors);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EXPORT_PROJECTOR_FILE_H_
