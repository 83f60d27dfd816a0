// A version of LLaVA in the memory of the devices that run it.
#ifndef LLAVA_SERVER_TORCH_TORCH_MODEL_H_
#define LLAVA_SERVER_TORCH_TORCH_MODEL_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "model/attention/kv_cache.h"
#include "model/attention/paged_attention.h"
#include "model/config/shard.h"
#include "model/network/llava.h"
#include "server/engine/executor.h"

namespace llava::engine {

// What keys and values of such a model look like. On the CPU in the layout of our kernels.
model::KvShape KvShapeOf(const model::TextConfig& text, at::ScalarType dtype, at::Device device);
// Bytes of one token of an encoded image.
std::int64_t FeatureBytesPerToken(const model::TextConfig& text, at::ScalarType dtype);

// What the layers of one rank read in a step, on its device. See model::Decoder::Forward.
struct LayerInputs {
  at::Tensor positions_T;
  at::Tensor rows_R = {};
  std::span<const model::AdapterRows> adapters = {};
  model::SumOverRanks sum = nullptr;  // null where there is one rank
};

// Rank 0 has all but its part of the decoder's layers, the others nothing but theirs. Immutable.
class TorchModel final : public LoadedModel {
 public:
  // `kv_dtype`: of the KV cache (KvShape::dtype); none: as the model computes. `others`: the layers
  // of the ranks 1 and on.
  TorchModel(const Digest& version, std::shared_ptr<const model::Llava> llava,
             std::optional<at::ScalarType> kv_dtype = std::nullopt,
             std::vector<std::shared_ptr<const model::DecoderLayers>> others = {})
      : version_(version),
        llava_(std::move(llava)),
        kv_dtype_(kv_dtype.value_or(llava_->dtype())),
        others_(std::move(others)) {}

  const Digest& version() const override { return version_; }
  const model::Llava& llava() const { return *llava_; }

  int ranks() const { return 1 + static_cast<int>(others_.size()); }
  model::LayerShard shard(int rank) const { return {.rank = rank, .size = ranks()}; }
  at::Device device(int rank) const;
  std::vector<at::Device> devices() const;

  model::KvShape kv_shape(int rank = 0) const;
  std::vector<model::KvShape> kv_shapes() const;  // by rank
  std::int64_t feature_bytes_per_token() const {
    return FeatureBytesPerToken(llava_->config().text, llava_->dtype());
  }

  // The layers of one rank on the step's rows, which rank 0 has embedded on its device; of rank 0
  // the result of Llava::Forward. By all ranks at the same time.
  at::Tensor Forward(int rank, const at::Tensor& embeddings_TE, model::PagedAttention& attention,
                     const LayerInputs& inputs) const;

 private:
  const Digest version_;
  const std::shared_ptr<const model::Llava> llava_;
  const at::ScalarType kv_dtype_;
  const std::vector<std::shared_ptr<const model::DecoderLayers>> others_;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_TORCH_MODEL_H_
