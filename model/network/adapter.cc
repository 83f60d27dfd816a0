#include "model/network/adapter.h"

#include <c10/core/InferenceMode.h>

#include <map>
#include <string>
#include <utility>

#include "base/check.h"

namespace llava::model {

ProductDelta::ProductDelta(std::span<const Part> parts, at::Device device) {
  std::vector<Linear> narrow;
  std::int64_t first_rank = 0;
  for (const Part& part : parts) {
    const std::int64_t rank = part.weights->a_RI.size(0);
    narrow.emplace_back(part.weights->a_RI.to(device));
    Linear wide(part.weights->b_OR.to(device));
    wide.Pack(WeightFormat::kFp32);
    parts_.push_back({first_rank, rank, part.first_out, std::move(wide)});
    first_rank += rank;
  }
  a_ = Linear::Packed(std::move(narrow), WeightFormat::kFp32);
}

void ProductDelta::AddTo(const at::Tensor& y_TO, const at::Tensor& x_TI,
                         const at::Tensor& rows_N) const {
  if (rows_N.defined() && rows_N.numel() == 0) return;
  const at::Tensor x = rows_N.defined() ? x_TI.index_select(0, rows_N) : x_TI;
  const at::Tensor narrow = a_.Forward(x.to(at::kFloat));
  for (const Wide& part : parts_) {
    const at::Tensor delta = part.b.Forward(narrow.narrow(1, part.first_rank, part.rank));
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
  const Places qkv = {
      {"self_attn.q_proj", 0}, {"self_attn.k_proj", queries}, {"self_attn.v_proj", queries + keys}};
  const Places gate_up = {{"mlp.gate_proj", 0}, {"mlp.up_proj", text.intermediate_size}};
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
