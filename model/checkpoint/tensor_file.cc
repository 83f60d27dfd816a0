#include "model/checkpoint/tensor_file.h"

#include <utility>

#include "absl/strings/match.h"
#include "base/status_macros.h"
#include "model/checkpoint/pickle.h"
#include "model/checkpoint/safetensors.h"

namespace llava::model {

absl::StatusOr<TensorFile> OpenTensorFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  absl::StatusOr<TensorMap> tensors =
      absl::EndsWith(path, ".safetensors") ? ReadSafetensors(*file) : ParseTorchSave(file->bytes());
  if (!tensors.ok()) return Annotate(tensors.status(), path);
  return TensorFile{.file = std::move(file), .tensors = *std::move(tensors)};
}

}  // namespace llava::model
