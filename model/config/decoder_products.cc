#include "model/config/decoder_products.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/utf8_stream.h"

namespace llava::model {

std::vector<DecoderProduct> DecoderProducts(const TextConfig& text) {
  const std::int64_t hidden = text.hidden_size, inner = text.intermediate_size;
  const std::int64_t queries = std::int64_t{text.num_heads} * text.head_dim;
  const std::int64_t keys = std::int64_t{text.num_kv_heads} * text.head_dim;
  if (text.fused) {
    return {{"self_attn.qkv_proj", queries + 2 * keys, hidden},
            {"self_attn.o_proj", hidden, queries},
            {"mlp.gate_up_proj", 2 * inner, hidden},
            {"mlp.down_proj", hidden, inner}};
  }
  return {{"self_attn.q_proj", queries, hidden}, {"self_attn.k_proj", keys, hidden},
          {"self_attn.v_proj", keys, hidden},    {"self_attn.o_proj", hidden, queries},
          {"mlp.gate_proj", inner, hidden},      {"mlp.up_proj", inner, hidden},
          {"mlp.down_proj", hidden, inner}};
}

absl::Status CheckFits(std::span<const AdaptedProduct> adapted, const TextConfig& text) {
  const std::vector<DecoderProduct> products = DecoderProducts(text);
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
    if (one.fused && !text.fused) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the adapter has ", place, " and lacks others that it targets and that the ", "model, a ",
          text.model_type, ", has: it is one of a model with qkv_proj and gate_up_proj"));
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
  const std::vector<DecoderProduct> before = DecoderProducts(loaded_for),
                                    now = DecoderProducts(text);
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (before[i].out == now[i].out && before[i].in == now[i].in) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the adapter was loaded for a ", AbslView(now[i].name), " of [", before[i].out, ", ",
        before[i].in, "], this version's is [", now[i].out, ", ", now[i].in, "]"));
  }
  return absl::OkStatus();
}

}  // namespace llava::model
