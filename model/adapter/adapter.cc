#include "model/adapter/adapter.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <c10/core/InferenceMode.h>

#include <map>
#include <string>
#include <utility>

namespace llava::model {

ProductDelta::Matrix::Matrix(const at::Tensor& weight_OI) {
  if (weight_OI.is_cpu()) {
    packed_.emplace(std::span(&weight_OI, 1), WeightFormat::kFp32);
  } else {
    plain_OI_ = weight_OI;
  }
}

at::Tensor ProductDelta::Matrix::Multiply(const at::Tensor& x_TI) const {
  return packed_ ? packed_->Multiply(x_TI, /*bias_O=*/{}) : at::linear(x_TI, plain_OI_);
}

ProductDelta::ProductDelta(std::span<const Part> parts, at::Device device) {
  std::vector<at::Tensor> narrow;
  std::int64_t first_rank = 0;
  for (const Part& part : parts) {
    const std::int64_t rank = part.weights->a_RI.size(0);
    narrow.push_back(part.weights->a_RI);
    parts_.push_back({first_rank, rank, part.first_out, Matrix(part.weights->b_OR.to(device))});
    first_rank += rank;
  }
  a_.emplace(at::cat(narrow).to(device));
}

void ProductDelta::AddTo(const at::Tensor& y_TO, const at::Tensor& x_TI,
                         const at::Tensor& rows_N) const {
  if (rows_N.defined() && rows_N.numel() == 0) return;
  const at::Tensor x = rows_N.defined() ? x_TI.index_select(0, rows_N) : x_TI;
  const at::Tensor narrow = a_->Multiply(x.to(at::kFloat));
  for (const Wide& part : parts_) {
    const at::Tensor delta = part.b.Multiply(narrow.narrow(1, part.first_rank, part.rank));
    at::Tensor y = y_TO.narrow(1, part.first_out, delta.size(1));
    if (rows_N.defined()) {
      y.index_add_(0, rows_N, delta.to(y.scalar_type()));
    } else {
      y.add_(delta);
    }
  }
}

Adapter::Adapter(const AdapterWeights& weights, const TextConfig& text, at::Device device)
    : layers_(static_cast<std::size_t>(text.num_layers)) {
  const c10::InferenceMode inference;
  std::vector<std::map<std::string, const AdaptedWeights*>> by_name(layers_.size());
  for (const AdaptedWeights& one : weights.products) {
    by_name.at(static_cast<std::size_t>(one.product.layer))[one.product.name] = &one;
  }
  const std::int64_t queries = std::int64_t{text.num_heads} * text.head_dim;
  const std::int64_t keys = std::int64_t{text.num_kv_heads} * text.head_dim;
  using Places = std::vector<std::pair<const char*, std::int64_t>>;
  const Places qkv = {{"self_attn.qkv_proj", 0},
                      {"self_attn.q_proj", 0},
                      {"self_attn.k_proj", queries},
                      {"self_attn.v_proj", queries + keys}};
  const Places gate_up = {
      {"mlp.gate_up_proj", 0}, {"mlp.gate_proj", 0}, {"mlp.up_proj", text.intermediate_size}};
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const auto make = [&](const Places& places) -> std::optional<ProductDelta> {
      std::vector<ProductDelta::Part> parts;
      for (const auto& [name, first_out] : places) {
        const auto found = by_name[i].find(name);
        if (found != by_name[i].end()) parts.push_back({found->second, first_out});
      }
      if (parts.empty()) return std::nullopt;
      return ProductDelta(parts, device);
    };
    layers_[i] = {.qkv = make(qkv),
                  .o = make({{"self_attn.o_proj", 0}}),
                  .gate_up = make(gate_up),
                  .down = make({{"mlp.down_proj", 0}})};
  }
}

}  // namespace llava::model
