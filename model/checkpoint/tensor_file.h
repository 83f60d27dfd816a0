// One weight file of a checkpoint, mapped into memory: safetensors, or what torch.save wrote.
#ifndef LLAVA_MODEL_CHECKPOINT_TENSOR_FILE_H_
#define LLAVA_MODEL_CHECKPOINT_TENSOR_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

struct TensorFile {
  std::shared_ptr<const MappedFile> file;
  TensorMap tensors;  // views into `file`
};

// The format follows from the name: ".safetensors", else a pickled ".bin" (nothing of which is
// executed). The message of an error begins with the path. A ".safetensors" may be cut meanwhile
// (DATA_LOSS); a ".bin" that is cut while this runs ends the process with SIGBUS.
absl::StatusOr<TensorFile> OpenTensorFile(const std::string& path);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_TENSOR_FILE_H_
