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

constexpr absl::string_view kWrapper = "base_model.model.";
constexpr absl::string_view kA = ".lora_A.weight";
constexpr absl::string_view kB = ".lora_B.weight";
constexpr const char* kFileName = "adapter_model.safetensors";
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

struct Pair {
  std::string module;  // as PEFT names it, without the wrapper
  at::Tensor a, b;
};

std::string ShapeOf(const at::Tensor& tensor) { return ShapeText(tensor.sizes().vec()); }

// "layers.3.mlp.up_proj", of a module of the decoder by its one name.
std::optional<Place> PlaceOf(const std::string& module) {
  const auto name = CanonicalName(absl::StrCat(module, ".weight"));
  if (!name) return std::nullopt;
  absl::string_view rest = *name;
  if (!absl::ConsumePrefix(&rest, absl::StrCat(kLanguagePrefix, "layers."))) return std::nullopt;
  absl::ConsumeSuffix(&rest, ".weight");
  const std::size_t dot = rest.find('.');
  int layer = 0;
  if (dot == rest.npos || !absl::SimpleAtoi(rest.substr(0, dot), &layer)) return std::nullopt;
  const auto product = ProductNumber(rest.substr(dot + 1));
  if (!product || layer < 0 || layer >= kMaxLayers) return std::nullopt;
  return Place{layer, *product};
}

class AdapterFile {
 public:
  AdapterFile(std::string path, const AdapterConfig& config)
      : path_(std::move(path)), config_(config) {}

  absl::Status Add(const NamedTensor& tensor) {
    absl::string_view key = tensor.name;
    const bool is_a = absl::ConsumeSuffix(&key, kA);
    if (!is_a && !absl::ConsumeSuffix(&key, kB)) {
      return absl::UnimplementedError(absl::StrCat(
          Name(tensor), " is not supported, expected tensors that end with ", kA, " and ", kB));
    }
    absl::ConsumePrefix(&key, kWrapper);
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
          absl::StrCat(Name(tensor), " is not among target_modules of ", kAdapterConfigName));
    }
    if (!tensor.tensor.is_floating_point() || tensor.tensor.scalar_type() == at::kDouble) {
      return absl::InvalidArgumentError(absl::StrCat(Name(tensor), " has elements of type ",
                                                     c10::toString(tensor.tensor.scalar_type()),
                                                     ", expected Half, BFloat16 or Float"));
    }
    if (tensor.tensor.dim() != 2) {
      return absl::InvalidArgumentError(absl::StrCat(
          Name(tensor), " has the shape ", ShapeOf(tensor.tensor), ", expected a matrix"));
    }
    if (!tensor.tensor.isfinite().all().item<bool>()) {
      return absl::DataLossError(
          absl::StrCat(Name(tensor), " has values that are NaN or infinite"));
    }
    Pair& pair = pairs_[*place];
    at::Tensor& side = is_a ? pair.a : pair.b;
    if (side.defined()) {
      return absl::InvalidArgumentError(
          absl::StrCat(Name(tensor), " comes twice, as ", pair.module, " too"));
    }
    pair.module = module;
    side = tensor.tensor;
    return absl::OkStatus();
  }

  absl::StatusOr<AdapterWeights> Finish() {
    if (pairs_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(path_, ": has no tensor of an adapter"));
    }
    RETURN_IF_ERROR(CheckComplete(/*fused=*/!HasOnlyThoseOf(/*fused=*/false)));
    AdapterWeights weights;
    weights.base = config_.base();
    weights.targets = config_.targets_text();
    Sha256 sha;
    for (const auto& [place, pair] : pairs_) {
      ASSIGN_OR_RETURN(AdaptedWeights one, Make(place, pair));
      const int rank = static_cast<int>(one.a_RI.size(0));
      weights.rank = std::max(weights.rank, rank);
      weights.bytes += static_cast<std::int64_t>(one.a_RI.nbytes() + one.b_OR.nbytes());
      sha.Update(absl::StrCat(place.layer, " ", one.product.name, " ", ShapeOf(one.a_RI), "\n"));
      for (const at::Tensor& side : {one.a_RI, one.b_OR}) {
        sha.Update({static_cast<const char*>(side.const_data_ptr()), side.nbytes()});
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

  absl::StatusOr<AdaptedWeights> Make(const Place& place, const Pair& pair) const {
    const std::string where = absl::StrCat(path_, ": ", pair.module);
    if (!pair.a.defined() || !pair.b.defined()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, " has only one of ", kA, " and ", kB, ", expected both"));
    }
    const std::int64_t rank = config_.RankOf(pair.module);
    if (pair.a.size(0) != rank || pair.b.size(1) != rank) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, " has lora_A of ", ShapeOf(pair.a), " and lora_B of ",
                       ShapeOf(pair.b), ", expected the rank ", rank, " by ", kAdapterConfigName));
    }
    return AdaptedWeights{
        .product = {.layer = place.layer,
                    .name = std::string(kProducts[place.product]),
                    .out = pair.b.size(0),
                    .in = pair.a.size(1)},
        .a_RI = pair.a.to(at::kFloat).contiguous(),
        .b_OR = (pair.b.to(at::kFloat) * config_.ScaleOf(pair.module)).contiguous()};
  }

  bool HasOnlyThoseOf(bool fused) const {
    return std::all_of(pairs_.begin(), pairs_.end(),
                       [fused](const auto& one) { return IsIn(one.first.product, fused); });
  }

  // What the configuration targets among the products of such a decoder is there, in every layer up
  // to the last one that is adapted, and nothing else is. Names are made as those of the file are.
  absl::Status CheckComplete(bool fused) const {
    const auto& [last, any] = *pairs_.rbegin();
    const std::string tail = absl::StrCat("layers.", last.layer, ".", kProducts[last.product]);
    const std::string prefix = any.module.substr(0, any.module.size() - tail.size());
    for (int layer = 0; layer <= last.layer; ++layer) {
      for (std::size_t product = 0; product < kProducts.size(); ++product) {
        const std::string module = absl::StrCat(prefix, "layers.", layer, ".", kProducts[product]);
        const bool there = pairs_.contains(Place{layer, product});
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
  std::map<Place, Pair> pairs_;
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
  const std::string path = absl::StrCat(dir, "/", kFileName);
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
