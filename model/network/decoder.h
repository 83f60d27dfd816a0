// The decoder of Llama (Touvron et al., arXiv 2302.13971; transformers' modeling_llama.py) and of
// the families that differ from it in settings only (Mistral, Qwen2, Qwen3, Phi-3), over one
// flattened batch: T tokens of any number of sequences, one after the other. Shape letters: T
// tokens, E hidden size, H query heads, K key/value heads, D head size, V vocabulary.
#ifndef LLAVA_MODEL_NETWORK_DECODER_H_
#define LLAVA_MODEL_NETWORK_DECODER_H_

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/adapter/adapter.h"
#include "model/attention/attention.h"
#include "model/config/config.h"
#include "model/network/embedding.h"
#include "model/network/linear.h"
#include "model/network/rotary.h"
#include "model/network/weights.h"

namespace llava::model {

// Makes a tensor (contiguous) the sum of those of all ranks that share the layers (LayerShard), in
// place. Every rank calls it as often, in the same order.
using SumOverRanks = std::function<void(const at::Tensor&)>;

// Rows as a sum that is still to be made: the norm that reads them makes it, on GPUs in one launch.
struct Residual {
  at::Tensor x;          // [T, E]
  at::Tensor more = {};  // [T, E]; undefined where nothing is to be added

  const at::Tensor& Sum();  // makes it
};

// x / rms(x) * weight, the mean square in fp32 (Zhang and Sennrich, arXiv 1910.07467).
struct RmsNorm {
  at::Tensor weight;
  double eps = 1e-5;

  RmsNorm(WeightSource& source, const std::string& name, std::int64_t size, double epsilon);
  at::Tensor Forward(const at::Tensor& x) const;
  at::Tensor Forward(Residual& x) const;  // makes its sum too
};

class DecoderLayer {
 public:
  DecoderLayer(const TextConfig& config, WeightSource& source, int index);

  // [T, E] -> [T, E], or with rows_R (see Decoder::Forward) -> [R, E], in place of the input.
  // With adapters only when packed. `sum`: null where the layer is whole, else called twice.
  void Forward(Residual& x, const RotaryAngles& angles, AttentionBackend& attention,
               const at::Tensor& rows_R, std::span<const AdapterRows> adapters,
               const SumOverRanks& sum) const;
  void ForEachLinear(const std::function<void(const std::string&, Linear&)>& visit);  // see Decoder

 private:
  void Pack(WeightFormat format);
  // Before the output projection: [T, H * D].
  at::Tensor Attention(const at::Tensor& x_TE, const RotaryAngles& angles,
                       AttentionBackend& attention, std::span<const AdapterRows> adapters) const;
  // `wanted`: the rows are those of the result.
  at::Tensor Mlp(const at::Tensor& y_TE, std::span<const AdapterRows> adapters, bool wanted) const;
  // y += what the adapters add to one of the layer's products of x.
  void AddAdapted(std::optional<ProductDelta> Adapter::Layer::* product,
                  std::span<const AdapterRows> adapters, bool wanted, const at::Tensor& x,
                  const at::Tensor& y) const;
  // The part of Attention after the product, when packed. Overwrites qkv_THD.
  at::Tensor AttendPacked(const at::Tensor& qkv_THD, std::int64_t queries,
                          const RotaryAngles& angles, AttentionBackend& attention) const;
  // The heads of queries or of keys, normed where the family does that.
  static at::Tensor Normed(const std::optional<RmsNorm>& norm, const at::Tensor& x_THD) {
    return norm ? norm->Forward(x_THD) : x_THD;
  }

  int index_;
  std::int64_t head_dim_;
  Activation activation_;
  RmsNorm input_norm_;
  RmsNorm post_attention_norm_;
  std::optional<RmsNorm> q_norm_, k_norm_;  // of each head

  Linear q_, k_, v_, o_, gate_, up_, down_;
  Linear qkv_, gate_up_;  // instead of their parts once packed
  bool packed_ = false;
};

// Called with a layer's number before its weights are read, which may be until what it returned is
// gone.
using LayerHold = std::function<std::shared_ptr<const void>(int layer)>;

// All layers of a decoder, or one rank's part of each (WeightSource::shard). Immutable after
// construction apart from what a trainer does to the weights; Forward is const and
// thread-compatible as far as the attention backend is.
class DecoderLayers {
 public:
  DecoderLayers(const TextConfig& config, WeightSource& source, at::Device device);

  at::Device device() const { return device_; }

  // Decoder::Forward without the final norm. `sum`: null where the layers are whole.
  at::Tensor Forward(const at::Tensor& embeddings_TE, const at::Tensor& positions_T,
                     AttentionBackend& attention, const at::Tensor& rows_R,
                     std::vector<at::Tensor>* trace, std::span<const AdapterRows> adapters,
                     const SumOverRanks& sum) const;

  void set_recompute(bool recompute) { recompute_ = recompute; }                      // see Decoder
  void set_hold(LayerHold hold) { hold_ = std::move(hold); }                          // see Decoder
  void ForEachLinear(const std::function<void(const std::string&, Linear&)>& visit);  // see Decoder

 private:
  at::Device device_;
  Rotary rotary_;
  std::vector<DecoderLayer> layers_;
  bool recompute_ = false;
  LayerHold hold_;
};

// Of several ranks the first, which alone has embedding, norm and head. As const as its layers.
class Decoder {
 public:
  Decoder(const TextConfig& config, WeightSource& source);

  at::ScalarType dtype() const { return embedding_.dtype(); }
  at::Device device() const { return embedding_.device(); }

  // ids_T: int64 in [0, V) -> [T, E].
  at::Tensor Embed(const at::Tensor& ids_T) const { return embedding_.Rows(ids_T); }

  // embeddings_TE, positions_T (int64, place within the sequence) -> hidden states after the final
  // norm, [T, E]; with rows_R (int64, in [0, T), any number of them) of those rows alone, [R, E]:
  // of the others the last layer computes no more than keys and values. With `trace`, every
  // layer's input and the result are appended to it. The rows of `adapters` (disjoint, their
  // wanted_N places in rows_R) are computed with them: of packed models only. `sum`: over the
  // ranks, while the others run their layers on the same rows.
  at::Tensor Forward(const at::Tensor& embeddings_TE, const at::Tensor& positions_T,
                     AttentionBackend& attention, const at::Tensor& rows_R = {},
                     std::vector<at::Tensor>* trace = nullptr,
                     std::span<const AdapterRows> adapters = {},
                     const SumOverRanks& sum = nullptr) const;

  // Any rows of Forward's result, [R, E] -> [R, V].
  at::Tensor Logits(const at::Tensor& hidden_RE) const;

  // For training: the layers' activations are not kept for the backward pass but computed again
  // there. The attention of a forward pass must live until then.
  void set_recompute(bool recompute) { layers_.set_recompute(recompute); }

  // For training with weights that are not always there. nullptr: they are always there.
  void set_hold(LayerHold hold) { layers_.set_hold(std::move(hold)); }

  // Visits the linear layers of every decoder layer (not the head) with their names,
  // "language_model.model.layers.0.self_attn.q_proj". REQUIRES: not packed.
  void ForEachLinear(const std::function<void(const std::string&, Linear&)>& visit) {
    layers_.ForEachLinear(visit);
  }

 private:
  Embedding embedding_;
  RmsNorm norm_;
  DecoderLayers layers_;
  Linear head_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_DECODER_H_
