// Writes a safetensors file tensor by tensor, so that no more than one of them is in memory.
#ifndef LLAVA_MODEL_CHECKPOINT_SAFETENSORS_WRITER_H_
#define LLAVA_MODEL_CHECKPOINT_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/durable_file.h"
#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

struct TensorSpec {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape = {};

  std::uint64_t bytes() const;
};

// Not thread-safe. Create, Append once for each tensor in order, Close.
class SafetensorsWriter {
 public:
  // Replaces the file at `path` and writes its header. The names are distinct. Errors of this class
  // are those of the operating system (a full disk: RESOURCE_EXHAUSTED) and name the path.
  static absl::StatusOr<SafetensorsWriter> Create(const std::string& path,
                                                  std::vector<TensorSpec> tensors);

  // The bytes of the next tensor, dense, little-endian. REQUIRES: as many as its spec says.
  absl::Status Append(std::string_view bytes);

  // After it the data is on the disk. REQUIRES: every tensor was appended.
  absl::Status Close();

 private:
  SafetensorsWriter(OutputFile file, std::vector<TensorSpec> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  OutputFile file_;
  std::vector<TensorSpec> tensors_;
  std::size_t next_ = 0;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_SAFETENSORS_WRITER_H_
