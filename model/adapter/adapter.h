// A LoRA adapter in the memory of one device, beside a packed model: for some rows of a batch,
// scale B A x is added to what the decoder's products give. Many adapters serve in one batch.
// Shape letters: T rows of the batch, N those of one adapter, R rows of the result.
#ifndef LLAVA_MODEL_ADAPTER_ADAPTER_H_
#define LLAVA_MODEL_ADAPTER_ADAPTER_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/adapter/adapter_weights.h"
#include "model/config/config.h"
#include "model/kernels/cpu/packed_matrix.h"

namespace llava::model {

// Beside one packed layer, which may be several products of one input. In fp32, whatever the
// weights are. On the CPU each row's bits are the same whatever the other rows are.
class ProductDelta {
 public:
  // `first_out`: where the output of each part begins in that of the layer.
  struct Part {
    const AdaptedWeights* weights;
    std::int64_t first_out = 0;
  };
  ProductDelta(std::span<const Part> parts, at::Device device);

  // y_TO += what the adapter adds for x_TI, in the rows rows_N (int64), or if undefined in all.
  void AddTo(const at::Tensor& y_TO, const at::Tensor& x_TI, const at::Tensor& rows_N) const;

 private:
  // In fp32: packed on the CPU, elsewhere as it is.
  class Matrix {
   public:
    explicit Matrix(const at::Tensor& weight_OI);
    at::Tensor Multiply(const at::Tensor& x_TI) const;  // fp32

   private:
    std::optional<PackedMatrix> packed_;
    at::Tensor plain_OI_;
  };
  struct Wide {
    std::int64_t first_rank, rank, first_out;
    Matrix b;
  };
  std::optional<Matrix> a_;  // of all parts, one below the other
  std::vector<Wide> parts_;
};

// Immutable; any thread.
class Adapter {
 public:
  // The products of a layer as the decoder packs them; nothing where it is not adapted.
  struct Layer {
    std::optional<ProductDelta> qkv, o, gate_up, down;
  };

  // Copies the weights. REQUIRES: CheckFits(weights.adapted(), text) is OK for this model and any
  // other that the adapter is used with.
  Adapter(const AdapterWeights& weights, const TextConfig& text, at::Device device);

  const Layer& layer(int index) const { return layers_[static_cast<std::size_t>(index)]; }

 private:
  std::vector<Layer> layers_;
};

// An adapter's rows of a batch.
struct AdapterRows {
  const Adapter* adapter = nullptr;
  at::Tensor rows_N = {};    // int64, distinct, in [0, T); undefined: all rows
  at::Tensor wanted_N = {};  // the same in the result, in [0, R); undefined: all rows
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_ADAPTER_ADAPTER_H_
