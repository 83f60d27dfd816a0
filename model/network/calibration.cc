#include "model/network/calibration.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/checkpoint/weight_names.h"
#include "model/kernels/cpu/packed_matrix.h"
#include "model/network/activation.h"
#include "model/network/session.h"

namespace llava::model {
namespace {

constexpr std::int64_t kSamples = 512;  // tokens of an input, of all conversations together
constexpr int kSteps = 20;              // of the exponent
// Channels that are next to nothing beside the greatest are scaled as this part of it.
constexpr double kLeastMagnitude = 1e-4;

std::string NameOf(int layer, const char* what) {
  return absl::StrCat(kLanguagePrefix, "layers.", layer, ".", what);
}

// The attention of one conversation, which keeps what it returned: the inputs of `o_proj`.
class WatchedAttention final : public AttentionBackend {
 public:
  WatchedAttention(int layers, const std::vector<int>& windows)
      : attention_(layers, windows), mixed_(layers) {}

  at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                     const at::Tensor& v_TKD) override {
    return mixed_[layer] = attention_.Forward(layer, q_THD, k_TKD, v_TKD);
  }

  at::Tensor mixed(int layer) const { return mixed_[layer].flatten(1); }

 private:
  SequenceAttention attention_;
  std::vector<at::Tensor> mixed_;
};

at::Tensor Normed(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * scale).to(x.scalar_type()) * weight;
}

// [K * D] for [K * sharing * D], by `of` the groups' dimension.
at::Tensor Shared(const at::Tensor& channels, std::int64_t sharing, std::int64_t head_dim) {
  if (sharing == 1) return channels;
  return channels.view({-1, sharing, head_dim}).mean(1).flatten();
}

at::Tensor Spread(const at::Tensor& channels, std::int64_t sharing, std::int64_t head_dim) {
  if (sharing == 1) return channels;
  return channels.view({-1, 1, head_dim}).expand({-1, sharing, head_dim}).flatten();
}

}  // namespace

at::Tensor Folded(const at::Tensor& weight, const ChannelFactors& factors) {
  at::Tensor result = weight.to(at::kFloat);
  if (factors.of_outputs.defined()) {
    const bool matrix = result.dim() == 2;
    result = result * (matrix ? factors.of_outputs.unsqueeze(1) : factors.of_outputs);
  }
  return factors.of_inputs.defined() ? result * factors.of_inputs : result;
}

Calibration::Calibration(Llava& model, std::int64_t conversations)
    : model_(model),
      samples_of_each_(
          std::max<std::int64_t>(1, kSamples / std::max<std::int64_t>(1, conversations))),
      layers_(model.config().text.num_layers) {
  LLAVA_CHECK(!model.config().text.fused && !model.weights().empty());
  model.decoder().ForEachLinear(
      [&](const std::string& name, const Linear& linear) { linears_[name] = &linear; });
}

const Linear& Calibration::linear(int layer, const char* name) const {
  return *linears_.at(NameOf(layer, name));
}

void Calibration::See(const at::Tensor& x, Seen& seen) const {
  const at::Tensor wide = x.to(at::kFloat);
  if (!seen.magnitude.defined()) seen.magnitude = at::zeros({x.size(1)}, at::kFloat);
  seen.magnitude = seen.magnitude + wide.abs().sum(0);
  seen.tokens += x.size(0);
  const std::int64_t count = std::min(samples_of_each_, x.size(0));
  const at::Tensor places =
      at::linspace(0, static_cast<double>(x.size(0) - 1), count, at::kDouble).to(at::kLong);
  seen.samples.push_back(wide.index_select(0, places));
}

void Calibration::Add(const at::Tensor& rows_TE) {
  const c10::InferenceMode inference;
  const TextConfig& text = model_.config().text;
  WatchedAttention attention(text.num_layers, text.windows);
  std::vector<at::Tensor> trace;
  model_.decoder().Forward(rows_TE, at::arange(rows_TE.size(0), at::kLong), attention,
                           /*rows_R=*/{}, &trace);
  const auto norm = [&](int layer, const char* name, const at::Tensor& x) {
    return Normed(x, model_.weights().at(NameOf(layer, name)), text.rms_norm_eps);
  };
  for (int i = 0; i < text.num_layers; ++i) {
    auto& seen = layers_[i];
    const at::Tensor x = trace[i];
    See(norm(i, "input_layernorm.weight", x), seen[0]);
    See(attention.mixed(i), seen[1]);
    const at::Tensor middle = x + linear(i, "self_attn.o_proj").Forward(attention.mixed(i));
    const at::Tensor y = norm(i, "post_attention_layernorm.weight", middle);
    See(y, seen[2]);
    See(Activate(text.hidden_act, linear(i, "mlp.gate_proj").Forward(y)) *
            linear(i, "mlp.up_proj").Forward(y),
        seen[3]);
  }
}

at::Tensor Calibration::FindScales(int layer, const Seen& seen,
                                   const std::vector<const char*>& products, std::int64_t sharing,
                                   WeightFormat format) const {
  const std::int64_t head_dim = model_.config().text.head_dim;
  at::Tensor mean = Shared(seen.magnitude / static_cast<double>(seen.tokens), sharing, head_dim);
  mean = mean.clamp_min(std::max(mean.max().item<double>() * kLeastMagnitude, 1e-30));
  const at::Tensor x = at::cat(seen.samples);
  std::vector<at::Tensor> weights, wanted;
  for (const char* name : products) {
    weights.push_back(linear(layer, name).weight().to(at::kFloat));
    wanted.push_back(at::linear(x, weights.back()));
  }
  at::Tensor best = at::ones_like(mean);
  double least = INFINITY;
  for (int step = 0; step < kSteps; ++step) {
    at::Tensor scales = mean.pow(static_cast<double>(step) / kSteps);
    scales = scales / (scales.max() * scales.min()).sqrt();
    const at::Tensor of_inputs = Spread(scales, sharing, head_dim);
    double error = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const at::Tensor scaled = weights[i] * of_inputs;
      const PackedMatrix packed(std::span(&scaled, 1), format);
      const at::Tensor off = packed.Multiply((x / of_inputs).contiguous(), {}) - wanted[i];
      error += off.square().sum().item<double>();
    }
    if (error >= least) continue;
    least = error;
    best = scales;
  }
  return best;
}

Folds Calibration::Find(WeightFormat format) const {
  const c10::InferenceMode inference;
  const TextConfig& text = model_.config().text;
  const std::int64_t sharing = text.num_heads / text.num_kv_heads;
  Folds folds;
  const auto multiply = [&](int layer, const std::vector<const char*>& products,
                            const at::Tensor& scales) {
    for (const char* name : products) {
      folds[NameOf(layer, name) + ".weight"].of_inputs = scales;
    }
  };
  const auto divide = [&](int layer, const char* product, const at::Tensor& scales) {
    folds[NameOf(layer, product) + ".weight"].of_outputs = scales.reciprocal();
    folds[NameOf(layer, product) + ".bias"].of_outputs = scales.reciprocal();
  };
  const std::vector<const char*> qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
  const std::vector<const char*> o = {"self_attn.o_proj"}, down = {"mlp.down_proj"};
  const std::vector<const char*> gate_up = {"mlp.gate_proj", "mlp.up_proj"};
  for (int i = 0; i < text.num_layers; ++i) {
    const auto& seen = layers_[i];
    at::Tensor scales = FindScales(i, seen[0], qkv, /*sharing=*/1, format);
    multiply(i, qkv, scales);
    folds[NameOf(i, "input_layernorm.weight")].of_outputs = scales.reciprocal();
    scales = FindScales(i, seen[1], o, sharing, format);
    multiply(i, o, Spread(scales, sharing, text.head_dim));
    divide(i, "self_attn.v_proj", scales);
    scales = FindScales(i, seen[2], gate_up, /*sharing=*/1, format);
    multiply(i, gate_up, scales);
    folds[NameOf(i, "post_attention_layernorm.weight")].of_outputs = scales.reciprocal();
    scales = FindScales(i, seen[3], down, /*sharing=*/1, format);
    multiply(i, down, scales);
    divide(i, "mlp.up_proj", scales);
  }
  return folds;
}

}  // namespace llava::model
