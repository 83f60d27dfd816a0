#include "model/network/decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/rsqrt.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/checkpoint/weight_names.h"
#include "model/network/activation.h"
#include "model/network/recompute.h"
#include "model/network/rows.h"

namespace llava::model {
namespace {

std::string LayerPrefix(int index) { return absl::StrCat(kLanguagePrefix, "layers.", index, "."); }

}  // namespace

RmsNorm::RmsNorm(WeightSource& source, const std::string& name, std::int64_t size, double epsilon)
    : weight(source.TakeSmall(name, {size})), eps(epsilon) {}

at::Tensor RmsNorm::Forward(const at::Tensor& x) const {
  if (x.is_cuda()) return at::rms_norm(x, x.size(-1), weight, eps);
  if (HasRowKernels(x) && !at::GradMode::is_enabled()) return RmsNormRows(x, weight, eps);
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * scale).to(x.scalar_type()) * weight;
}

DecoderLayer::DecoderLayer(const TextConfig& config, WeightSource& source, int index)
    : index_(index),
      head_dim_(config.head_dim),
      activation_(config.hidden_act),
      input_norm_(source, LayerPrefix(index) + "input_layernorm.weight", config.hidden_size,
                  config.rms_norm_eps),
      post_attention_norm_(source, LayerPrefix(index) + "post_attention_layernorm.weight",
                           config.hidden_size, config.rms_norm_eps) {
  const auto linear = [&](const char* name, std::int64_t out, std::int64_t in, bool bias) {
    return source.TakeLinear(LayerPrefix(index) + name, out, in, bias);
  };
  const auto head_norm = [&](const char* name) {
    return RmsNorm(source, LayerPrefix(index) + name, config.head_dim, config.rms_norm_eps);
  };
  if (config.qk_norm) {
    q_norm_ = head_norm("self_attn.q_norm.weight");
    k_norm_ = head_norm("self_attn.k_norm.weight");
  }
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t queries = std::int64_t{config.num_heads} * config.head_dim;
  const std::int64_t keys = std::int64_t{config.num_kv_heads} * config.head_dim;
  const std::int64_t inner = config.intermediate_size;
  if (config.fused) {
    qkv_ = linear("self_attn.qkv_proj", queries + 2 * keys, hidden, /*bias=*/false);
    gate_up_ = linear("mlp.gate_up_proj", 2 * inner, hidden, /*bias=*/false);
  } else {
    q_ = linear("self_attn.q_proj", queries, hidden, config.qkv_bias);
    k_ = linear("self_attn.k_proj", keys, hidden, config.qkv_bias);
    v_ = linear("self_attn.v_proj", keys, hidden, config.qkv_bias);
    gate_ = linear("mlp.gate_proj", inner, hidden, config.mlp_bias);
    up_ = linear("mlp.up_proj", inner, hidden, config.mlp_bias);
  }
  o_ = linear("self_attn.o_proj", hidden, queries, config.output_bias);
  down_ = linear("mlp.down_proj", hidden, inner, config.mlp_bias);
  const auto packing = source.pack();
  if (packing && config.fused) {
    for (Linear* whole : {&qkv_, &o_, &gate_up_, &down_}) whole->Pack(packing->layers);
    packed_ = true;
  } else if (packing) {
    Pack(packing->layers);
  }
}

void DecoderLayer::AddAdapted(std::optional<ProductDelta> Adapter::Layer::* product,
                              std::span<const AdapterRows> adapters, bool wanted,
                              const at::Tensor& x, const at::Tensor& y) const {
  for (const AdapterRows& rows : adapters) {
    const std::optional<ProductDelta>& delta = rows.adapter->layer(index_).*product;
    if (delta) delta->AddTo(y, x, wanted ? rows.wanted_N : rows.rows_N);
  }
}

at::Tensor DecoderLayer::Attention(const at::Tensor& x_TE, const RotaryAngles& angles,
                                   AttentionBackend& attention,
                                   std::span<const AdapterRows> adapters) const {
  const std::int64_t tokens = x_TE.size(0);
  if (packed_ || qkv_.weight().defined()) {
    const at::Tensor qkv = qkv_.Forward(x_TE);
    AddAdapted(&Adapter::Layer::qkv, adapters, /*wanted=*/false, x_TE, qkv);
    const at::Tensor qkv_THD = qkv.view({tokens, -1, head_dim_});
    const std::int64_t queries = o_.in_features() / head_dim_;
    const std::int64_t keys = (qkv_THD.size(1) - queries) / 2;
    const at::Tensor v_TKD = qkv_THD.narrow(1, queries + keys, keys);
    if (!packed_) {
      const at::Tensor q_THD = Rotary::Rotate(qkv_THD.narrow(1, 0, queries), angles);
      const at::Tensor k_TKD = Rotary::Rotate(qkv_THD.narrow(1, queries, keys), angles);
      return attention.Forward(index_, q_THD, k_TKD, v_TKD).view({tokens, -1});
    }
    if (q_norm_) {
      const at::Tensor q_THD = q_norm_->Forward(qkv_THD.narrow(1, 0, queries));
      const at::Tensor k_TKD = k_norm_->Forward(qkv_THD.narrow(1, queries, keys));
      Rotary::RotateInPlace(q_THD, angles);
      Rotary::RotateInPlace(k_TKD, angles);
      return attention.Forward(index_, q_THD, k_TKD, v_TKD).view({tokens, -1});
    }
    Rotary::RotateInPlace(qkv_THD.narrow(1, 0, queries + keys), angles);
    const at::Tensor mixed = attention.Forward(index_, qkv_THD.narrow(1, 0, queries),
                                               qkv_THD.narrow(1, queries, keys), v_TKD);
    return mixed.view({tokens, -1});
  }
  const auto heads = [&](const Linear& linear) {
    return linear.Forward(x_TE).view({tokens, -1, head_dim_});
  };
  const at::Tensor q_THD = Rotary::Rotate(Normed(q_norm_, heads(q_)), angles);
  const at::Tensor k_TKD = Rotary::Rotate(Normed(k_norm_, heads(k_)), angles);
  return attention.Forward(index_, q_THD, k_TKD, heads(v_)).view({tokens, -1});
}

at::Tensor DecoderLayer::Mlp(const at::Tensor& y_TE, std::span<const AdapterRows> adapters,
                             bool wanted) const {
  if (!packed_ && !gate_up_.weight().defined()) {
    return down_.Forward(Activate(activation_, gate_.Forward(y_TE)) * up_.Forward(y_TE));
  }
  const at::Tensor gate_up = gate_up_.Forward(y_TE);
  AddAdapted(&Adapter::Layer::gate_up, adapters, wanted, y_TE, gate_up);
  const std::int64_t inner = gate_up.size(1) / 2;
  const at::Tensor gated =
      packed_ && activation_ == Activation::kSilu && HasRowKernels(gate_up)
          ? SiluTimesRows(gate_up)
          : Activate(activation_, gate_up.narrow(1, 0, inner)) * gate_up.narrow(1, inner, inner);
  const at::Tensor down = down_.Forward(gated);
  AddAdapted(&Adapter::Layer::down, adapters, wanted, gated, down);
  return down;
}

void DecoderLayer::Pack(WeightFormat format) {
  qkv_ = Linear::Packed({std::move(q_), std::move(k_), std::move(v_)}, format);
  o_.Pack(format);
  gate_up_ = Linear::Packed({std::move(gate_), std::move(up_)}, format);
  down_.Pack(format);
  packed_ = true;
}

void DecoderLayer::ForEachLinear(const std::function<void(const std::string&, Linear&)>& visit) {
  const std::string prefix = LayerPrefix(index_);
  if (qkv_.weight().defined()) {
    visit(prefix + "self_attn.qkv_proj", qkv_);
  } else {
    visit(prefix + "self_attn.q_proj", q_);
    visit(prefix + "self_attn.k_proj", k_);
    visit(prefix + "self_attn.v_proj", v_);
  }
  visit(prefix + "self_attn.o_proj", o_);
  if (gate_up_.weight().defined()) {
    visit(prefix + "mlp.gate_up_proj", gate_up_);
  } else {
    visit(prefix + "mlp.gate_proj", gate_);
    visit(prefix + "mlp.up_proj", up_);
  }
  visit(prefix + "mlp.down_proj", down_);
}

at::Tensor DecoderLayer::Forward(const at::Tensor& x_TE, const RotaryAngles& angles,
                                 AttentionBackend& attention, const at::Tensor& rows_R,
                                 std::span<const AdapterRows> adapters) const {
  LLAVA_CHECK(packed_ || adapters.empty());
  const bool fewer = rows_R.defined();
  const auto wanted = [&rows_R](const at::Tensor& all) {
    return rows_R.defined() ? all.index_select(0, rows_R) : all;
  };
  const at::Tensor mixed =
      wanted(Attention(input_norm_.Forward(x_TE), angles, attention, adapters));
  const at::Tensor output = o_.Forward(mixed);
  AddAdapted(&Adapter::Layer::o, adapters, fewer, mixed, output);
  const at::Tensor x = wanted(x_TE) + output;
  return x + Mlp(post_attention_norm_.Forward(x), adapters, fewer);
}

Decoder::Decoder(const TextConfig& config, WeightSource& source)
    : embedding_(source, absl::StrCat(kLanguagePrefix, "embed_tokens.weight"), config.vocab_size,
                 config.hidden_size),
      rotary_(config, embedding_.device()),
      norm_(source, absl::StrCat(kLanguagePrefix, "norm.weight"), config.hidden_size,
            config.rms_norm_eps) {
  for (int i = 0; i < config.num_layers; ++i) layers_.emplace_back(config, source, i);
  head_ = config.tie_embeddings ? embedding_.AsLinear()
                                : source.TakeLinear(kLmHeadPrefix, config.vocab_size,
                                                    config.hidden_size, /*bias=*/false);
  if (const auto packing = source.pack()) head_.Pack(packing->others);
}

void Decoder::ForEachLinear(const std::function<void(const std::string&, Linear&)>& visit) {
  for (DecoderLayer& layer : layers_) layer.ForEachLinear(visit);
}

at::Tensor Decoder::Forward(const at::Tensor& embeddings_TE, const at::Tensor& positions_T,
                            AttentionBackend& attention, const at::Tensor& rows_R,
                            std::vector<at::Tensor>* trace,
                            std::span<const AdapterRows> adapters) const {
  const RotaryAngles angles = rotary_.Angles(positions_T);
  at::Tensor x = embeddings_TE;
  for (const DecoderLayer& layer : layers_) {
    if (trace != nullptr) trace->push_back(x);
    const at::Tensor rows = &layer == &layers_.back() ? rows_R : at::Tensor();
    const auto forward = [&layer, angles, &attention, rows, adapters](const at::Tensor& input) {
      return layer.Forward(input, angles, attention, rows, adapters);
    };
    const auto hold = [this, number = static_cast<int>(&layer - layers_.data())] {
      return hold_ ? hold_(number) : nullptr;
    };
    if (recompute_ && at::GradMode::is_enabled()) {
      x = Recomputed(forward, x, hold);
    } else {
      const auto held = hold();
      x = forward(x);
    }
  }
  const at::Tensor hidden = norm_.Forward(x);
  if (trace != nullptr) trace->push_back(hidden);
  return hidden;
}

at::Tensor Decoder::Logits(const at::Tensor& hidden_RE) const { return head_.Forward(hidden_RE); }

}  // namespace llava::model
