#include "server/torch/torch_model.h"

namespace llava::engine {

model::KvShape KvShapeOf(const model::TextConfig& text, at::ScalarType dtype, at::Device device) {
  return {.layers = static_cast<int>(text.num_layers),
          .kv_heads = static_cast<int>(text.num_kv_heads),
          .head_dim = static_cast<int>(text.head_dim),
          .dtype = dtype,
          .device = device,
          .layout = device.is_cpu() ? model::KvLayout::kTiles : model::KvLayout::kRows,
          .windows = text.windows};
}

std::int64_t FeatureBytesPerToken(const model::TextConfig& text, at::ScalarType dtype) {
  return text.hidden_size * static_cast<std::int64_t>(c10::elementSize(dtype));
}

at::Device TorchModel::device(int rank) const {
  return rank == 0 ? llava_->device() : others_[static_cast<std::size_t>(rank - 1)]->device();
}

std::vector<at::Device> TorchModel::devices() const {
  std::vector<at::Device> devices;
  for (int rank = 0; rank < ranks(); ++rank) devices.push_back(device(rank));
  return devices;
}

model::KvShape TorchModel::kv_shape(int rank) const {
  return KvShapeOf(model::ShardOf(llava_->config().text, ranks()), kv_dtype_, device(rank));
}

std::vector<model::KvShape> TorchModel::kv_shapes() const {
  std::vector<model::KvShape> shapes;
  for (int rank = 0; rank < ranks(); ++rank) shapes.push_back(kv_shape(rank));
  return shapes;
}

at::Tensor TorchModel::Forward(int rank, const at::Tensor& embeddings_TE,
                               model::PagedAttention& attention, const LayerInputs& inputs) const {
  if (rank == 0) {
    return llava_->Forward(embeddings_TE, inputs.positions_T, attention, inputs.rows_R,
                           inputs.adapters, inputs.sum);
  }
  const model::DecoderLayers& layers = *others_[static_cast<std::size_t>(rank - 1)];
  return layers.Forward(embeddings_TE.to(layers.device()), inputs.positions_T, attention,
                        inputs.rows_R, /*trace=*/nullptr, inputs.adapters, inputs.sum);
}

}  // namespace llava::engine
