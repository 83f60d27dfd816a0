#include "model/network/decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/rsqrt.h>

#include <optional>
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

// What a rank keeps of a layer whose outputs are dealt out,
Linear OutputsOf(const LayerShard& shard, const Linear& all) {
  if (shard.is_whole()) return all;
  const std::int64_t out = all.out_features();
  return all.Rows(shard.First(out), shard.Count(out)).Compact();
}

// and of one whose inputs are. The sum over the ranks has the bias once.
Linear InputsOf(const LayerShard& shard, const Linear& all) {
  if (shard.is_whole()) return all;
  const std::int64_t in = all.in_features();
  return all.Columns(shard.First(in), shard.Count(in), /*with_bias=*/shard.rank == 0).Compact();
}

}  // namespace

RmsNorm::RmsNorm(WeightSource& source, const std::string& name, std::int64_t size, double epsilon)
    : weight(source.TakeSmall(name, {size})), eps(epsilon) {}

const at::Tensor& Residual::Sum() {
  if (more.defined()) x = x + std::exchange(more, {});
  return x;
}

at::Tensor RmsNorm::Forward(Residual& x) const {
  if (x.more.defined()) {
    if (std::optional<at::Tensor> normed = AddRmsNormRows(x.x, x.more, weight, eps)) {
      x.more = at::Tensor();
      return *std::move(normed);
    }
  }
  return Forward(x.Sum());
}

at::Tensor RmsNorm::Forward(const at::Tensor& x) const {
  if (HasRmsNormRows(x, weight)) return RmsNormRows(x, weight, eps);
  if (x.is_cuda()) return at::rms_norm(x, x.size(-1), weight, eps);
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
  const LayerShard shard = source.shard();
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t queries = std::int64_t{config.num_heads} * config.head_dim;
  const std::int64_t keys = std::int64_t{config.num_kv_heads} * config.head_dim;
  const std::int64_t inner = config.intermediate_size;
  if (config.fused) {
    const Linear qkv = linear("self_attn.qkv_proj", queries + 2 * keys, hidden, /*bias=*/false);
    const Linear gate_up = linear("mlp.gate_up_proj", 2 * inner, hidden, /*bias=*/false);
    if (shard.is_whole()) {
      qkv_ = qkv;
      gate_up_ = gate_up;
    } else {
      q_ = OutputsOf(shard, qkv.Rows(0, queries));
      k_ = OutputsOf(shard, qkv.Rows(queries, keys));
      v_ = OutputsOf(shard, qkv.Rows(queries + keys, keys));
      gate_ = OutputsOf(shard, gate_up.Rows(0, inner));
      up_ = OutputsOf(shard, gate_up.Rows(inner, inner));
    }
  } else {
    q_ = OutputsOf(shard, linear("self_attn.q_proj", queries, hidden, config.qkv_bias));
    k_ = OutputsOf(shard, linear("self_attn.k_proj", keys, hidden, config.qkv_bias));
    v_ = OutputsOf(shard, linear("self_attn.v_proj", keys, hidden, config.qkv_bias));
    gate_ = OutputsOf(shard, linear("mlp.gate_proj", inner, hidden, config.mlp_bias));
    up_ = OutputsOf(shard, linear("mlp.up_proj", inner, hidden, config.mlp_bias));
  }
  o_ = InputsOf(shard, linear("self_attn.o_proj", hidden, queries, config.output_bias));
  down_ = InputsOf(shard, linear("mlp.down_proj", hidden, inner, config.mlp_bias));
  if (const auto packing = source.pack()) Pack(packing->layers);
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
  if (qkv_.is_there()) {
    const at::Tensor qkv = qkv_.Forward(x_TE);
    AddAdapted(&Adapter::Layer::qkv, adapters, /*wanted=*/false, x_TE, qkv);
    const at::Tensor qkv_THD = qkv.view({tokens, -1, head_dim_});
    const std::int64_t queries = o_.in_features() / head_dim_;
    const std::int64_t keys = (qkv_THD.size(1) - queries) / 2;
    if (packed_) return AttendPacked(qkv_THD, queries, angles, attention).view({tokens, -1});
    const at::Tensor q_THD = Rotary::Rotate(qkv_THD.narrow(1, 0, queries), angles);
    const at::Tensor k_TKD = Rotary::Rotate(qkv_THD.narrow(1, queries, keys), angles);
    const at::Tensor v_TKD = qkv_THD.narrow(1, queries + keys, keys);
    return attention.Forward(index_, q_THD, k_TKD, v_TKD).view({tokens, -1});
  }
  const auto heads = [&](const Linear& linear) {
    return linear.Forward(x_TE).view({tokens, -1, head_dim_});
  };
  const at::Tensor q_THD = Rotary::Rotate(Normed(q_norm_, heads(q_)), angles);
  const at::Tensor k_TKD = Rotary::Rotate(Normed(k_norm_, heads(k_)), angles);
  return attention.Forward(index_, q_THD, k_TKD, heads(v_)).view({tokens, -1});
}

at::Tensor DecoderLayer::AttendPacked(const at::Tensor& qkv_THD, std::int64_t queries,
                                      const RotaryAngles& angles,
                                      AttentionBackend& attention) const {
  const std::int64_t keys = (qkv_THD.size(1) - queries) / 2;
  const at::Tensor q_THD = Normed(q_norm_, qkv_THD.narrow(1, 0, queries));
  const at::Tensor k_TKD = Normed(k_norm_, qkv_THD.narrow(1, queries, keys));
  const at::Tensor v_TKD = qkv_THD.narrow(1, queries + keys, keys);
  if (auto mixed =
          attention.RotateAndForward(index_, q_THD, k_TKD, v_TKD, angles.cos, angles.sin)) {
    return *std::move(mixed);
  }
  if (q_norm_) {
    Rotary::RotateInPlace(q_THD, angles);
    Rotary::RotateInPlace(k_TKD, angles);
  } else {
    Rotary::RotateInPlace(qkv_THD.narrow(1, 0, queries + keys), angles);
  }
  return attention.Forward(index_, q_THD, k_TKD, v_TKD);
}

at::Tensor DecoderLayer::Mlp(const at::Tensor& y_TE, std::span<const AdapterRows> adapters,
                             bool wanted) const {
  if (!gate_up_.is_there()) {
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
  if (qkv_.is_there()) {
    qkv_.Pack(format);
    gate_up_.Pack(format);
  } else {
    qkv_ = Linear::Packed({std::move(q_), std::move(k_), std::move(v_)}, format);
    gate_up_ = Linear::Packed({std::move(gate_), std::move(up_)}, format);
  }
  o_.Pack(format);
  down_.Pack(format);
  packed_ = true;
}

void DecoderLayer::ForEachLinear(const std::function<void(const std::string&, Linear&)>& visit) {
  const std::string prefix = LayerPrefix(index_);
  if (qkv_.is_there()) {
    visit(prefix + "self_attn.qkv_proj", qkv_);
  } else {
    visit(prefix + "self_attn.q_proj", q_);
    visit(prefix + "self_attn.k_proj", k_);
    visit(prefix + "self_attn.v_proj", v_);
  }
  visit(prefix + "self_attn.o_proj", o_);
  if (gate_up_.is_there()) {
    visit(prefix + "mlp.gate_up_proj", gate_up_);
  } else {
    visit(prefix + "mlp.gate_proj", gate_);
    visit(prefix + "mlp.up_proj", up_);
  }
  visit(prefix + "mlp.down_proj", down_);
}

void DecoderLayer::Forward(Residual& x, const RotaryAngles& angles, AttentionBackend& attention,
                           const at::Tensor& rows_R, std::span<const AdapterRows> adapters,
                           const SumOverRanks& sum) const {
  LLAVA_CHECK(packed_ || adapters.empty());
  const bool fewer = rows_R.defined();
  const auto wanted = [&rows_R](const at::Tensor& all) {
    return rows_R.defined() ? all.index_select(0, rows_R) : all;
  };
  const at::Tensor mixed = wanted(Attention(input_norm_.Forward(x), angles, attention, adapters));
  const at::Tensor output = o_.Forward(mixed);
  AddAdapted(&Adapter::Layer::o, adapters, fewer, mixed, output);
  if (sum) sum(output);
  x = {.x = wanted(x.x), .more = output};
  const at::Tensor y = Mlp(post_attention_norm_.Forward(x), adapters, fewer);
  if (sum) sum(y);
  x.more = y;
}

DecoderLayers::DecoderLayers(const TextConfig& config, WeightSource& source, at::Device device)
    : device_(device), rotary_(config, device) {
  for (int i = 0; i < config.num_layers; ++i) layers_.emplace_back(config, source, i);
}

void DecoderLayers::ForEachLinear(const std::function<void(const std::string&, Linear&)>& visit) {
  for (DecoderLayer& layer : layers_) layer.ForEachLinear(visit);
}

at::Tensor DecoderLayers::Forward(const at::Tensor& embeddings_TE, const at::Tensor& positions_T,
                                  AttentionBackend& attention, const at::Tensor& rows_R,
                                  std::vector<at::Tensor>* trace,
                                  std::span<const AdapterRows> adapters,
                                  const SumOverRanks& sum) const {
  const RotaryAngles angles = rotary_.Angles(positions_T);
  Residual x{.x = embeddings_TE};
  for (const DecoderLayer& layer : layers_) {
    if (trace != nullptr) trace->push_back(x.Sum());
    const at::Tensor rows = &layer == &layers_.back() ? rows_R : at::Tensor();
    const auto forward = [&layer, angles, &attention, rows, adapters,
                          sum](const at::Tensor& input) {
      Residual output{.x = input};
      layer.Forward(output, angles, attention, rows, adapters, sum);
      return output.Sum();
    };
    const auto hold = [this, number = static_cast<int>(&layer - layers_.data())] {
      return hold_ ? hold_(number) : nullptr;
    };
    if (recompute_ && at::GradMode::is_enabled()) {
      x.x = Recomputed(forward, x.Sum(), hold);
    } else {
      const auto held = hold();
      layer.Forward(x, angles, attention, rows, adapters, sum);
    }
  }
  return x.Sum();
}

Decoder::Decoder(const TextConfig& config, WeightSource& source)
    : embedding_(source, absl::StrCat(kLanguagePrefix, "embed_tokens.weight"), config.vocab_size,
                 config.hidden_size),
      norm_(source, absl::StrCat(kLanguagePrefix, "norm.weight"), config.hidden_size,
            config.rms_norm_eps),
      layers_(config, source, embedding_.device()) {
  head_ = config.tie_embeddings ? embedding_.AsLinear()
                                : source.TakeLinear(kLmHeadPrefix, config.vocab_size,
                                                    config.hidden_size, /*bias=*/false);
  if (const auto packing = source.pack()) head_.Pack(packing->others);
}

at::Tensor Decoder::Forward(const at::Tensor& embeddings_TE, const at::Tensor& positions_T,
                            AttentionBackend& attention, const at::Tensor& rows_R,
                            std::vector<at::Tensor>* trace, std::span<const AdapterRows> adapters,
                            const SumOverRanks& sum) const {
  const at::Tensor hidden = norm_.Forward(
      layers_.Forward(embeddings_TE, positions_T, attention, rows_R, trace, adapters, sum));
  if (trace != nullptr) trace->push_back(hidden);
  return hidden;
}

at::Tensor Decoder::Logits(const at::Tensor& hidden_RE) const { return head_.Forward(hidden_RE); }

}  // namespace llava::model
