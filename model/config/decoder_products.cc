#include "model/config/decoder_products.h"

#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/utf8_stream.h"

namespace llava::model {

std::array<DecoderProduct, kDecoderProducts> DecoderProducts(const TextConfig& text) {
  const std::int64_t hidden = text.hidden_size, inner = text.intermediate_size;
  const std::int64_t queries = std::int64_t{text.num_heads} * text.head_dim;
  const std::int64_t keys = std::int64_t{text.num_kv_heads} * text.head_dim;
  return {{{"self_attn.q_proj", queries, hidden},
           {"self_attn.k_proj", keys, hidden},
           {"self_attn.v_proj", keys, hidden},
           {"self_attn.o_proj", hidden, queries},
           {"mlp.gate_proj", inner, hidden},
           {"mlp.up_proj", inner, hidden},
           {"mlp.down_proj", hidden, inner}}};
}

namespace {

// The products of a layer as it has them, those of one matrix in one.
std::vector<DecoderProduct> Matrices(const TextConfig& text) {
  const auto products = DecoderProducts(text);
  if (!text.fused) return {products.begin(), products.end()};
  const auto& [q, k, v, o, gate, up, down] = products;
  return {{"self_attn.qkv_proj", q.out + k.out + v.out, q.in},
          o,
          {"mlp.gate_up_proj", gate.out + up.out, gate.in},
          down};
}

}  // namespace

absl::Status CheckFits(std::span<const AdaptedProduct> adapted, const TextConfig& text) {
  const std::vector<DecoderProduct> products = Matrices(text);
  const auto name_of = [](std::string* out, const DecoderProduct& product) {
    absl::StrAppend(out, AbslView(product.name));
  };
  for (const AdaptedProduct& one : adapted) {
    const std::string place = absl::StrCat("layers.", one.layer, ".", one.name);
    if (one.layer >= text.num_layers) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the adapter changes ", place, ", the model has ", text.num_layers, " layers"));
    }
    const auto found =
        absl::c_find_if(products, [&](const DecoderProduct& p) { return p.name == one.name; });
    if (found == products.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the adapter changes ", place, ", which the model, a ", text.model_type,
                       ", does not have: it has ", absl::StrJoin(products, ", ", name_of)));
    }
    if (found->out != one.out || found->in != one.in) {
      return absl::FailedPreconditionError(
          absl::StrCat("the adapter is for a ", place, " of [", one.out, ", ", one.in,
                       "], the model's is [", found->out, ", ", found->in, "]"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSameProducts(const TextConfig& loaded_for, const TextConfig& text) {
  if (loaded_for.num_layers != text.num_layers) {
    return absl::FailedPreconditionError(
        absl::StrCat("the adapter was loaded for a model of ", loaded_for.num_layers,
                     " layers, this version has ", text.num_layers));
  }
  if (loaded_for.fused != text.fused) {
    return absl::FailedPreconditionError(
        absl::StrCat("the adapter was loaded for a ", loaded_for.model_type, ", this version is a ",
                     text.model_type, ", whose layers have other products"));
  }
  const auto before = DecoderProducts(loaded_for), now = DecoderProducts(text);
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (before[i].out == now[i].out && before[i].in == now[i].in) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the adapter was loaded for a ", AbslView(now[i].name), " of [", before[i].out, ", ",
        before[i].in, "], this version's is [", now[i].out, ", ", now[i].in, "]"));
  }
  return absl::OkStatus();
}

}  // namespace llava::model
