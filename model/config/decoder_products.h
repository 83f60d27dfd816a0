// The matrix products of the decoder's layers by their names and shapes: what an adapter may
// change.
#ifndef LLAVA_MODEL_CONFIG_DECODER_PRODUCTS_H_
#define LLAVA_MODEL_CONFIG_DECODER_PRODUCTS_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "model/config/config.h"

namespace llava::model {

// A product y = x Wᵀ of each layer, W: [out, in].
struct DecoderProduct {
  std::string_view name;  // "self_attn.q_proj"
  std::int64_t out = 0;
  std::int64_t in = 0;
};

// Those of a layer, in the order q, k, v, o, gate, up, down; also where several are one matrix
// (TextConfig::fused).
inline constexpr int kDecoderProducts = 7;
std::array<DecoderProduct, kDecoderProducts> DecoderProducts(const TextConfig& text);

// One that an adapter changes.
struct AdaptedProduct {
  int layer = 0;
  std::string name;
  std::int64_t out = 0;
  std::int64_t in = 0;
};

// Whether the model has each of them as a matrix of its own, in these shapes. FAILED_PRECONDITION
// names the first that it has not, what it has there, and what the adapter is for.
absl::Status CheckFits(std::span<const AdaptedProduct> adapted, const TextConfig& text);

// Whether both have as many layers, of the same products: an adapter loaded for one is then right
// for the other. FAILED_PRECONDITION names the first difference.
absl::Status CheckSameProducts(const TextConfig& loaded_for, const TextConfig& text);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_DECODER_PRODUCTS_H_
