#include "model/adapter/adapter_weights.h"

#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/checkpoint/adapter_config.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/checkpoint/weight_names.h"
#include "model/tensors/named_tensor.h"
#include "model/tensors/tensor_files.h"

namespace llava::model {
namespace {

constexpr absl::string_view kMagnitude = ".lora_magnitude_vector";
constexpr int kMaxLayers = 10'000;

// Of decoders of all kinds. The order is that of an adapter's digest: what is new stands behind.
constexpr std::array<absl::string_view, 9> kProducts = {
    "self_attn.q_proj", "self_attn.k_proj",   "self_attn.v_proj",
    "self_attn.o_proj", "mlp.gate_proj",      "mlp.up_proj",
    "mlp.down_proj",    "self_attn.qkv_proj", "mlp.gate_up_proj"};

// Whether decoders that are fused, or the others, have a product.
bool IsIn(std::size_t product, bool fused) {
  const absl::string_view name = kProducts[product];
  if (name == "self_attn.o_proj" || name == "mlp.down_proj") return true;
  return fused == (name == "self_attn.qkv_proj" || name == "mlp.gate_up_proj");
}

std::optional<std::size_t> ProductNumber(absl::string_view name) {
  const auto found = std::find(kProducts.begin(), kProducts.end(), name);
  if (found == kProducts.end()) return std::nullopt;
  return static_cast<std::size_t>(found - kProducts.begin());
}

// A place in the decoder, and what the file calls it.
struct Place {
  int layer = 0;
  std::size_t product = 0;
  friend auto operator<=>(const Place&, const Place&) = default;
};

// The tensors of a module.
struct Parts {
  std::string module;  // as PEFT names it, without the wrapper
  at::Tensor a, b, magnitude;
};

std::string ShapeOf(const at::Tensor& tensor) { return ShapeText(tensor.sizes().vec()); }

// "layers.3.mlp.up_proj", of a module of the decoder by its one name.
std::optional<Place> PlaceOf(const std::string& module) {
  const auto found = LayerModuleOf(module);
  if (!found || found->layer >= kMaxLayers) return std::nullopt;
  const auto product = ProductNumber(found->name);
  if (!product) return std::nullopt;
  return Place{found->layer, *product};
}

class AdapterFile {
 public:
  AdapterFile(std::string path, const AdapterConfig& config)
      : path_(std::move(path)), config_(config) {}

  absl::Status Add(const NamedTensor& tensor) {
    absl::string_view key = tensor.name;
    at::Tensor Parts::* part = nullptr;
    if (absl::ConsumeSuffix(&key, kLoraA)) part = &Parts::a;
    if (absl::ConsumeSuffix(&key, kLoraB)) part = &Parts::b;
    if (config_.dora() && absl::ConsumeSuffix(&key, kMagnitude)) part = &Parts::magnitude;
    if (part == nullptr) {
      return absl::UnimplementedError(
          absl::StrCat(Name(tensor), " is not supported, expected tensors that end with ", kLoraA,
                       ", ", kLoraB, " and with use_dora ", kMagnitude));
    }
    absl::ConsumePrefix(&key, kPeftWrapper);
    const std::string module(key);
    const auto place = PlaceOf(module);
    if (!place) {
      return absl::UnimplementedError(
          absl::StrCat(Name(tensor),
                       " adapts another part than the linear layers of the language model's "
                       "layers, which is not supported: not the vision tower, the projector, the "
                       "embeddings or the head"));
    }
    if (!config_.Targets(module)) {
      return absl::InvalidArgumentError(
          absl::StrCat(Name(tensor), " is not among target_modules and layers_to_transform of ",
                       kAdapterConfigName));
    }
    if (!tensor.tensor.is_floating_point() || tensor.tensor.scalar_type() == at::kDouble) {
      return absl::InvalidArgumentError(absl::StrCat(Name(tensor), " has elements of type ",
                                                     c10::toString(tensor.tensor.scalar_type()),
                                                     ", expected Half, BFloat16 or Float"));
    }
    const std::int64_t dimensions = part == &Parts::magnitude ? 1 : 2;
    if (tensor.tensor.dim() != dimensions) {
      return absl::InvalidArgumentError(absl::StrCat(Name(tensor), " has the shape ",
                                                     ShapeOf(tensor.tensor), ", expected a ",
                                                     dimensions == 1 ? "vector" : "matrix"));
    }
    if (!tensor.tensor.isfinite().all().item<bool>()) {
      return absl::DataLossError(
          absl::StrCat(Name(tensor), " has values that are NaN or infinite"));
    }
    Parts& parts = parts_[*place];
    if ((parts.*part).defined()) {
      return absl::InvalidArgumentError(
          absl::StrCat(Name(tensor), " comes twice, as ", parts.module, " too"));
    }
    parts.module = module;
    parts.*part = tensor.tensor;
    return absl::OkStatus();
  }

  absl::StatusOr<AdapterWeights> Finish() {
    if (parts_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(path_, ": has no tensor of an adapter"));
    }
    RETURN_IF_ERROR(CheckComplete(/*fused=*/!HasOnlyThoseOf(/*fused=*/false)));
    AdapterWeights weights;
    weights.base = config_.base();
    weights.targets = config_.targets_text();
    weights.dora = config_.dora();
    Sha256 sha;
    for (const auto& [place, parts] : parts_) {
      ASSIGN_OR_RETURN(AdaptedWeights one, Make(place, parts));
      const int rank = static_cast<int>(one.a_RI.size(0));
      weights.rank = std::max(weights.rank, rank);
      sha.Update(absl::StrCat(place.layer, " ", one.product.name, " ", ShapeOf(one.a_RI), "\n"));
      for (const at::Tensor& part : {one.a_RI, one.b_OR, one.magnitude_O}) {
        if (!part.defined()) continue;
        weights.bytes += static_cast<std::int64_t>(part.nbytes());
        sha.Update({static_cast<const char*>(part.const_data_ptr()), part.nbytes()});
      }
      weights.products.push_back(std::move(one));
    }
    weights.digest = sha.Finish();
    return weights;
  }

 private:
  std::string Name(const NamedTensor& tensor) const {
    return absl::StrCat(path_, ": \"", tensor.name, "\"");
  }

  absl::StatusOr<AdaptedWeights> Make(const Place& place, const Parts& parts) const {
    const std::string where = absl::StrCat(path_, ": ", parts.module);
    if (!parts.a.defined() || !parts.b.defined()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, " has only one of ", kLoraA, " and ", kLoraB, ", expected both"));
    }
    const std::int64_t rank = config_.RankOf(parts.module), out = parts.b.size(0);
    if (parts.a.size(0) != rank || parts.b.size(1) != rank) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, " has lora_A of ", ShapeOf(parts.a), " and lora_B of ",
                       ShapeOf(parts.b), ", expected the rank ", rank, " by ", kAdapterConfigName));
    }
    if (config_.dora() && !(parts.magnitude.defined() && parts.magnitude.size(0) == out)) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, " has ", parts.magnitude.defined() ? ShapeOf(parts.magnitude) : "nothing", " as ",
          kMagnitude, ", expected [", out, "] where use_dora is true"));
    }
    return AdaptedWeights{
        .product = {.layer = place.layer,
                    .name = std::string(kProducts[place.product]),
                    .out = out,
                    .in = parts.a.size(1)},
        .a_RI = parts.a.to(at::kFloat).contiguous(),
        .b_OR = (parts.b.to(at::kFloat) * config_.ScaleOf(parts.module)).contiguous(),
        .magnitude_O = config_.dora() ? parts.magnitude.to(at::kFloat).contiguous() : at::Tensor()};
  }

  bool HasOnlyThoseOf(bool fused) const {
    return std::all_of(parts_.begin(), parts_.end(),
                       [fused](const auto& one) { return IsIn(one.first.product, fused); });
  }

  // What the configuration targets among the products of such a decoder is there, in every layer up
  // to the last one that is adapted, and nothing else is. Names are made as those of the file are.
  absl::Status CheckComplete(bool fused) const {
    const auto& [last, any] = *parts_.rbegin();
    const std::string tail = absl::StrCat("layers.", last.layer, ".", kProducts[last.product]);
    const std::string prefix = any.module.substr(0, any.module.size() - tail.size());
    for (int layer = 0; layer <= last.layer; ++layer) {
      for (std::size_t product = 0; product < kProducts.size(); ++product) {
        const std::string module = absl::StrCat(prefix, "layers.", layer, ".", kProducts[product]);
        const bool there = parts_.contains(Place{layer, product});
        if (there && !IsIn(product, fused)) {
          return absl::InvalidArgumentError(
              absl::StrCat(path_, ": ", module, " is no product of a decoder that has the others"));
        }
        if (there || !IsIn(product, fused) || !config_.Targets(module)) continue;
        return absl::InvalidArgumentError(absl::StrCat(path_, ": the tensors of ", module,
                                                       " are missing, which target_modules of ",
                                                       kAdapterConfigName, " names"));
      }
    }
    return absl::OkStatus();
  }

  const std::string path_;
  const AdapterConfig& config_;
  std::map<Place, Parts> parts_;
};

// What is added to each of the products that one matrix holds (TextConfig::fused).
std::vector<AdaptedWeights> ProductsOf(const AdaptedWeights& matrix, const TextConfig& text) {
  const auto [q, k, v, o, gate, up, down] = DecoderProducts(text);
  std::vector<DecoderProduct> parts;
  if (matrix.product.name == "self_attn.qkv_proj") parts = {q, k, v};
  if (matrix.product.name == "mlp.gate_up_proj") parts = {gate, up};
  if (parts.empty()) return {matrix};
  std::vector<AdaptedWeights> products;
  std::int64_t first = 0;
  for (const DecoderProduct& part : parts) {
    products.push_back({{matrix.product.layer, std::string(part.name), part.out, part.in},
                        matrix.a_RI,
                        matrix.b_OR.narrow(0, first, part.out)});
    first += part.out;
  }
  return products;
}

}  // namespace

std::vector<AdaptedProduct> AdapterWeights::adapted() const {
  std::vector<AdaptedProduct> all;
  all.reserve(products.size());
  for (const AdaptedWeights& one : products) all.push_back(one.product);
  return all;
}

absl::StatusOr<AdapterWeights> ReadAdapter(const std::string& dir, std::int64_t max_bytes) {
  ASSIGN_OR_RETURN(const AdapterConfig config, AdapterConfig::Read(dir));
  const std::string path = absl::StrCat(dir, "/", kAdapterFileName);
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) {
    return absl::NotFoundError(
        absl::StrCat(path, ": ", error.message(), "; expected the tensors of an adapter there"));
  }
  if (size > static_cast<std::uintmax_t>(max_bytes)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, " has ", size, " bytes, expected at most ", max_bytes));
  }
  ASSIGN_OR_RETURN(const std::vector<NamedTensor> tensors, LoadTensors(path));
  AdapterFile file(path, config);
  for (const NamedTensor& tensor : tensors) RETURN_IF_ERROR(file.Add(tensor));
  ASSIGN_OR_RETURN(AdapterWeights weights, file.Finish());
  if (weights.bytes > max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        path, " takes ", weights.bytes, " bytes in float32, expected at most ", max_bytes));
  }
  return weights;
}

AdapterWeights ShardOf(const AdapterWeights& weights, const TextConfig& text,
                       const LayerShard& shard) {
  if (shard.is_whole()) return weights;
  AdapterWeights result = weights;
  result.products.clear();
  result.bytes = 0;
  for (const AdaptedWeights& matrix : weights.products) {
    for (AdaptedWeights one : ProductsOf(matrix, text)) {
      const std::string& name = one.product.name;
      const bool by_inputs = name == "self_attn.o_proj" || name == "mlp.down_proj";
      at::Tensor& cut = by_inputs ? one.a_RI : one.b_OR;
      std::int64_t& places = by_inputs ? one.product.in : one.product.out;
      cut = cut.narrow(by_inputs ? 1 : 0, shard.First(places), shard.Count(places));
      places = shard.Count(places);
      result.bytes += (one.a_RI.numel() + one.b_OR.numel()) *
                      static_cast<std::int64_t>(c10::elementSize(at::kFloat));
      result.products.push_back(std::move(one));
    }
  }
  return result;
}

}  // namespace llava::model
