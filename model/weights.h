// Where the modules of the model take their weights from, and the source that is a checkpoint.
#ifndef LLAVA_MODEL_WEIGHTS_H_
#define LLAVA_MODEL_WEIGHTS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint.h"
#include "model/linear.h"

namespace llava::model {

// The modules' constructors are the one table of names and shapes: each takes what it needs.
// Single-threaded. After a failure Take goes on with placeholders, and status() says what was
// wrong first.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // The tensor of that name (model/weight_names.h) and exactly that shape.
  virtual at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) = 0;

  // What was taken, by name.
  const std::map<std::string, at::Tensor>& taken() const { return taken_; }

  // weight [out, in], and bias [out] when `bias`, of `prefix` ("...q_proj").
  Linear TakeLinear(const std::string& prefix, std::int64_t out, std::int64_t in, bool bias);

 protected:
  // REQUIRES: not kept before.
  void Keep(const std::string& name, const at::Tensor& tensor);

 private:
  std::map<std::string, at::Tensor> taken_;
};

struct WeightOptions {
  std::optional<at::ScalarType> dtype = at::kFloat;  // nothing: as stored
  at::Device device = at::kCPU;
  bool verify = false;  // look for NaN and infinite values, which reads all of the weights
  // The file's pages leave memory with the last handle of their tensor: for weights that are copied
  // once. Nobody may write to the tensors.
  bool read_once = false;
};

// Takes from a checkpoint: without a copy when dtype and device are those of the file, so that the
// weights are pages of the file's mapping; converted one tensor at a time otherwise.
class CheckpointWeights final : public WeightSource {
 public:
  // `checkpoint` outlives this object; the tensors outlive both.
  CheckpointWeights(const Checkpoint& checkpoint, WeightOptions options)
      : checkpoint_(checkpoint), options_(options) {}

  at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) override;

  // What was wrong first: a missing tensor (NOT_FOUND), another shape or a dtype that is not
  // floating point (INVALID_ARGUMENT), NaN (DATA_LOSS, with `verify`). Names file, key, expected
  // and found.
  const absl::Status& status() const { return status_; }

  // INVALID_ARGUMENT when the checkpoint holds a tensor that nobody took, except those whose names
  // begin with one of `dormant` (tower blocks after the selected one).
  absl::Status CheckNothingLeft(const std::vector<std::string>& dormant) const;

 private:
  absl::StatusOr<at::Tensor> Load(const std::string& name, const std::vector<std::int64_t>& shape);

  const Checkpoint& checkpoint_;
  const WeightOptions options_;
  absl::Status status_;
};

// A tensor over the bytes of the file, which it keeps mapped; CPU, in the file's dtype. Copied
// where the bytes are not aligned for it. `read_once`: see WeightOptions.
absl::StatusOr<at::Tensor> TensorOf(const CheckpointTensor& tensor, bool read_once = false);

absl::StatusOr<at::ScalarType> ScalarTypeOf(DType dtype);

}  // namespace llava::model

#endif  // LLAVA_MODEL_WEIGHTS_H_
