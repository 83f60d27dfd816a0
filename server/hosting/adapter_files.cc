#include "server/hosting/adapter_files.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/checkpoint/adapter_config.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/weight_names.h"
#include "model/config/decoder_products.h"

namespace llava::server {
namespace {

// Of the matrix A in `tensors` whose name is `key`, and the B beside it.
absl::StatusOr<model::AdaptedProduct> ReadProduct(const model::TensorMap& tensors,
                                                  const std::string& key,
                                                  const model::AdapterConfig& config) {
  absl::string_view rest = key;
  absl::ConsumeSuffix(&rest, model::kLoraA);
  const auto b = tensors.find(absl::StrCat(rest, model::kLoraB));
  absl::ConsumePrefix(&rest, model::kPeftWrapper);
  const std::string module(rest);
  const std::optional<model::LayerModule> place = model::LayerModuleOf(module);
  if (!place) {
    return absl::UnimplementedError(absl::StrCat(
        "\"", key, "\" adapts another part than the linear layers of the language model's layers"));
  }
  const std::vector<std::int64_t>& a = tensors.find(key)->second.shape;
  const std::int64_t rank = config.RankOf(module);
  if (a.size() != 2 || b == tensors.end() || b->second.shape.size() != 2 || a[0] != rank ||
      b->second.shape[1] != rank) {
    return absl::InvalidArgumentError(
        absl::StrCat(module, " has lora_A of ", model::ShapeText(a), " and lora_B of ",
                     b == tensors.end() ? "no shape" : model::ShapeText(b->second.shape),
                     ", expected the rank ", rank, " by ", model::kAdapterConfigName));
  }
  return model::AdaptedProduct{
      .layer = place->layer, .name = place->name, .out = b->second.shape[0], .in = a[1]};
}

absl::StatusOr<std::vector<model::AdaptedProduct>> ReadProducts(
    const model::MappedFile& file, const model::AdapterConfig& config) {
  ASSIGN_OR_RETURN(const model::TensorMap tensors, model::ReadSafetensors(file));
  std::vector<model::AdaptedProduct> products;
  for (const auto& [key, tensor] : tensors) {
    if (absl::EndsWith(key, model::kLoraB)) continue;  // is read with its A
    if (!absl::EndsWith(key, model::kLoraA)) {
      return absl::UnimplementedError(
          absl::StrCat("\"", key, "\" is not supported, expected tensors that end with ",
                       model::kLoraA, " and ", model::kLoraB));
    }
    ASSIGN_OR_RETURN(model::AdaptedProduct product, ReadProduct(tensors, key, config));
    products.push_back(std::move(product));
  }
  if (products.empty()) return absl::InvalidArgumentError("has no tensor of an adapter");
  return products;
}

}  // namespace

absl::Status CheckAdapterFiles(const std::string& dir, const model::TextConfig* text) {
  ASSIGN_OR_RETURN(const model::AdapterConfig config, model::AdapterConfig::Read(dir));
  if (config.dora()) {
    return absl::UnimplementedError(
        absl::StrCat(dir,
                     ": use_dora is true, which is not served beside a base: llava-train "
                     "merge writes a checkpoint of both"));
  }
  const std::string path = absl::StrCat(dir, "/", model::kAdapterFileName);
  ASSIGN_OR_RETURN(const std::shared_ptr<const model::MappedFile> file,
                   model::MappedFile::Open(path));
  const auto products = ReadProducts(*file, config);
  if (!products.ok()) return Annotate(products.status(), path);
  return text == nullptr ? absl::OkStatus() : Annotate(model::CheckFits(*products, *text), dir);
}

}  // namespace llava::server
