#include "model/decoder.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>

#include "absl/strings/str_cat.h"
#include "model/weight_names.h"

namespace llava::model {
namespace {

std::string LayerPrefix(int index) { return absl::StrCat(kLanguagePrefix, "layers.", index, "."); }

}  // namespace

RmsNorm::RmsNorm(WeightSource& source, const std::string& name, const TextConfig& config)
    : weight(source.Take(name, {config.hidden_size})), eps(config.rms_norm_eps) {}

at::Tensor RmsNorm::Forward(const at::Tensor& x) const {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * scale).to(x.scalar_type()) * weight;
}

DecoderLayer::DecoderLayer(const TextConfig& config, WeightSource& source, int index)
    : index_(index),
      head_dim_(config.head_dim),
      input_norm_(source, LayerPrefix(index) + "input_layernorm.weight", config),
      post_attention_norm_(source, LayerPrefix(index) + "post_attention_layernorm.weight", config) {
  const auto linear = [&](const char* name, std::int64_t out, std::int64_t in) {
    return source.TakeLinear(LayerPrefix(index) + name, out, in, false);
  };
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t queries = std::int64_t{config.num_heads} * config.head_dim;
  const std::int64_t keys = std::int64_t{config.num_kv_heads} * config.head_dim;
  q_ = linear("self_attn.q_proj", queries, hidden);
  k_ = linear("self_attn.k_proj", keys, hidden);
  v_ = linear("self_attn.v_proj", keys, hidden);
  o_ = linear("self_attn.o_proj", hidden, queries);
  gate_ = linear("mlp.gate_proj", config.intermediate_size, hidden);
  up_ = linear("mlp.up_proj", config.intermediate_size, hidden);
  down_ = linear("mlp.down_proj", hidden, config.intermediate_size);
}

at::Tensor DecoderLayer::Attention(const at::Tensor& x_TE, const RotaryAngles& angles,
                                   AttentionBackend& attention) const {
  const std::int64_t tokens = x_TE.size(0);
  const auto heads = [&](const Linear& linear) {
    return linear.Forward(x_TE).view({tokens, -1, head_dim_});
  };
  const at::Tensor q_THD = Rotary::Rotate(heads(q_), angles);
  const at::Tensor k_TKD = Rotary::Rotate(heads(k_), angles);
  const at::Tensor mixed = attention.Forward(index_, q_THD, k_TKD, heads(v_));
  return o_.Forward(mixed.view({tokens, -1}));
}

at::Tensor DecoderLayer::Forward(const at::Tensor& x_TE, const RotaryAngles& angles,
                                 AttentionBackend& attention) const {
  const at::Tensor x = x_TE + Attention(input_norm_.Forward(x_TE), angles, attention);
  const at::Tensor y = post_attention_norm_.Forward(x);
  return x + down_.Forward(at::silu(gate_.Forward(y)) * up_.Forward(y));
}

Decoder::Decoder(const TextConfig& config, WeightSource& source)
    : embedding_VE_(source.Take(absl::StrCat(kLanguagePrefix, "embed_tokens.weight"),
                                {config.vocab_size, config.hidden_size})),
      rotary_(config, embedding_VE_.device()),
      norm_(source, absl::StrCat(kLanguagePrefix, "norm.weight"), config) {
  for (int i = 0; i < config.num_layers; ++i) layers_.emplace_back(config, source, i);
  head_ = Linear(config.tie_embeddings
                     ? embedding_VE_
                     : source.Take(kLmHeadName, {config.vocab_size, config.hidden_size}));
}

at::Tensor Decoder::Embed(const at::Tensor& ids_T) const {
  return at::embedding(embedding_VE_, ids_T);
}

at::Tensor Decoder::Forward(const at::Tensor& embeddings_TE, const at::Tensor& positions_T,
                            AttentionBackend& attention, std::vector<at::Tensor>* trace) const {
  const RotaryAngles angles = rotary_.Angles(positions_T);
  at::Tensor x = embeddings_TE;
  for (const DecoderLayer& layer : layers_) {
    if (trace != nullptr) trace->push_back(x);
    x = layer.Forward(x, angles, attention);
  }
  const at::Tensor hidden = norm_.Forward(x);
  if (trace != nullptr) trace->push_back(hidden);
  return hidden;
}

at::Tensor Decoder::Logits(const at::Tensor& hidden_RE) const { return head_.Forward(hidden_RE); }

}  // namespace llava::model
