// Where the modules of the model take their weights from, and the source that is a checkpoint.
#ifndef LLAVA_MODEL_NETWORK_WEIGHTS_H_
#define LLAVA_MODEL_NETWORK_WEIGHTS_H_

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
#include "model/checkpoint/checkpoint.h"
#include "model/config/config.h"
#include "model/config/shard.h"
#include "model/network/linear.h"
#include "model/network/lora.h"

namespace llava::model {

// How the modules hold what they took once they are packed.
struct Packing {
  WeightFormat layers;   // of the matrices of the decoder's layers
  WeightFormat others;   // of all other matrices, and where it has codes of the embeddings
  at::ScalarType dtype;  // of what is no weight: the KV cache, features of pictures
  Quantization quantization = Quantization::kNone;  // what these formats are as a whole

  // All alike: a format stands for this wherever a packing is expected. REQUIRES: not a format of
  // codes. NOLINTNEXTLINE(google-explicit-constructor)
  Packing(WeightFormat all) : layers(all), others(all), dtype(DtypeOf(all)) {}
  // For activations of `dtype`, which is also that of the weights without quantisation. GPUs have
  // codes in the decoder's layers only.
  Packing(Quantization wanted, at::ScalarType activations, bool on_gpu = false);

  friend bool operator==(const Packing&, const Packing&) = default;
};

// The modules' constructors are the one table of names and shapes: each takes what it needs.
// Single-threaded. After a failure Take goes on with placeholders, and status() says what was
// wrong first.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // The tensor of that name (model/checkpoint/weight_names.h) and exactly that shape.
  virtual at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) = 0;

  // What was taken, by name. Undefined handles when packing, and of codes.
  const std::map<std::string, at::Tensor>& taken() const { return taken_; }

  // Serving: the modules put what they took into the form in which this machine multiplies fastest
  // (Linear::Packed), with weights in these formats. They copy, and let go of what they took, one
  // layer after the other. They can do inference only then, and their activations on the CPU are
  // fp32.
  virtual std::optional<Packing> pack() const { return std::nullopt; }

  // The part of the decoder's layers that the modules keep of what they take.
  virtual LayerShard shard() const { return {}; }

  // Like Take, of a matrix that is stored as codes; nothing where it is stored as numbers. The
  // codes may lie in memory that is used again once nobody holds them.
  virtual std::optional<QuantizedMatrix> TakeCodes(const std::string&, std::int64_t /*out*/,
                                                   std::int64_t /*in*/) {
    return std::nullopt;
  }

  // Like Take, of a weight that no matrix product reads: packed, it is fp32 on the CPU.
  at::Tensor TakeSmall(const std::string& name, const std::vector<std::int64_t>& shape);

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
  std::optional<Packing> pack = {};  // see WeightSource; no tensor lies in a mapping then
  // Without `pack`: a format of codes for the matrices of the decoder's layers, which are then
  // never changed.
  std::optional<WeightFormat> frozen_layers = {};
  std::map<std::string, Lora> merged = {};  // adapters that are part of the weights of these names
  Quantization stored = Quantization::kNone;  // what config.json says of the checkpoint
  LayerShard shard = {};                      // see WeightSource; with `pack`
};

// Takes from a checkpoint: without a copy when dtype and device are those of the file, so that the
// weights are pages of the file's mapping; converted one tensor at a time otherwise. What is packed
// or verified is read instead of mapped, so that a file that is cut meanwhile is a DATA_LOSS.
class CheckpointWeights final : public WeightSource {
 public:
  // `checkpoint` outlives this object; the tensors outlive both.
  CheckpointWeights(const Checkpoint& checkpoint, WeightOptions options);

  at::Tensor Take(const std::string& name, const std::vector<std::int64_t>& shape) override;
  // Also of all matrices of a checkpoint of AWQ or GPTQ, where they are to be packed as codes, and
  // of those that are frozen_layers. For a GPU of the decoder's layers only, on that GPU, where
  // they are to be packed as codes: those of QuantizeMatrix, as on CPUs.
  std::optional<QuantizedMatrix> TakeCodes(const std::string& name, std::int64_t out,
                                           std::int64_t in) override;

  // The matrix in a format of codes: see CodedMatrix::Quantized where AWQ or GPTQ made it, else
  // QuantizeMatrix. The errors of status(), which stays as it is.
  absl::StatusOr<QuantizedMatrix> Quantized(const std::string& name, std::int64_t out,
                                            std::int64_t in, WeightFormat format);

  // What was wrong first: a missing tensor (NOT_FOUND), another shape or a dtype that is not
  // floating point (INVALID_ARGUMENT), NaN (DATA_LOSS, with `verify`). Names file, key, expected
  // and found. Nothing is read after that.
  const absl::Status& status() const { return status_; }

  // Nothing after a failure: there is no point in packing placeholders.
  std::optional<Packing> pack() const override {
    return status_.ok() ? options_.pack : std::nullopt;
  }

  LayerShard shard() const override { return options_.shard; }

  // INVALID_ARGUMENT when the checkpoint holds a tensor that nobody took, except those whose names
  // begin with one of `dormant` (tower blocks after the selected one) and biases of zeros in the
  // language model, which programs that quantise store for layers without one.
  absl::Status CheckNothingLeft(const std::vector<std::string>& dormant) const;

 private:
  absl::StatusOr<at::Tensor> Load(const std::string& name, const std::vector<std::int64_t>& shape);
  // The numbers, in whatever dtype and where they were read; on the device meta a placeholder.
  absl::StatusOr<at::Tensor> LoadNumbers(const std::string& name,
                                         const std::vector<std::int64_t>& shape);
  bool packs_for_gpu() const { return options_.pack && options_.device.is_cuda(); }
  // The tensor of that name, of that shape.
  absl::StatusOr<const CheckpointTensor*> Find(const std::string& name,
                                               const std::vector<std::int64_t>& shape) const;
  absl::StatusOr<QuantizedMatrix> LoadCodes(const std::string& name, std::int64_t out,
                                            std::int64_t in);
  // As stored, which must be `dtype`, where the codes are to be: on the CPU or nowhere.
  absl::StatusOr<at::Tensor> LoadPart(const std::string& name,
                                      const std::vector<std::int64_t>& shape, DType dtype);
  absl::StatusOr<at::Tensor> Read(const CheckpointTensor& tensor);
  at::Tensor Buffer(std::int64_t bytes);

  const Checkpoint& checkpoint_;
  const WeightOptions options_;
  const bool coded_;  // AWQ or GPTQ made some matrices
  absl::Status status_;
  // Bytes to read into, used again when nobody holds a tensor in them: fresh memory costs more than
  // what is read into it.
  std::vector<at::Tensor> buffers_;
};

// A tensor over the bytes of the file, which it keeps mapped; CPU, in the file's dtype. Copied
// where the bytes are not aligned for it. Of a matrix that AWQ or GPTQ made, its numbers in fp32.
absl::StatusOr<at::Tensor> TensorOf(const CheckpointTensor& tensor);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_WEIGHTS_H_
