#include "model/config/rewritten_config.h"

#include <filesystem>
#include <optional>
#include <utility>

#include "base/durable_file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "boost/json/object.hpp"
#include "boost/json/serialize.hpp"

namespace llava::model {
namespace {

namespace json = boost::json;

std::string InFolder(const std::string& dir, const char* name) {
  return (std::filesystem::path(dir) / name).string();
}

// In the whole and in its parts, where they say it.
void PutDtype(const std::string& dtype, json::object& out) {
  for (const char* part : {"text_config", "vision_config"}) {
    json::value* nested = out.if_contains(part);
    if (nested != nullptr && nested->is_object()) PutDtype(dtype, nested->get_object());
  }
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (out.contains(key)) out[key] = dtype;
  }
}

void PutTied(bool tied, json::object& out) {
  constexpr const char* kTied = "tie_word_embeddings";
  out[kTied] = tied;
  json::value* text = out.if_contains("text_config");
  if (text != nullptr && text->is_object()) text->get_object()[kTied] = tied;
}

// The configuration of `dir` with the weights stored as `written` says; nothing where it says
// anything else than that.
std::optional<json::object> Restored(const LlavaConfig& written, const std::string& dir) {
  const absl::StatusOr<LlavaConfig> read = ReadConfig(dir);
  if (!read.ok() || read->layout != Layout::kHuggingFace) return std::nullopt;
  LlavaConfig same = *read;
  same.name = written.name;
  same.dtype = written.dtype;
  same.quantization = written.quantization;
  same.text.tie_embeddings = written.text.tie_embeddings;
  absl::StatusOr<json::object> out = ReadJsonObject(InFolder(dir, "config.json"));
  if (!(same == written) || !out.ok()) return std::nullopt;
  if (!written.dtype.empty()) {
    if (!out->contains("dtype")) out->emplace("torch_dtype", written.dtype);
    PutDtype(written.dtype, *out);
  }
  const bool tied = written.text.tie_embeddings;
  if (read->text.tie_embeddings != tied) PutTied(tied, *out);
  out->erase(kQuantizationKey);
  json::value* const text = out->if_contains("text_config");
  if (text != nullptr && text->is_object()) text->get_object().erase(kQuantizationKey);
  if (written.quantization != Quantization::kNone) {
    out->emplace(kQuantizationKey,
                 json::object{{"quant_method", kQuantizationMethod},
                              {"format", QuantizationName(written.quantization)}});
  }
  return *std::move(out);
}

}  // namespace

absl::Status RewriteConfig(const LlavaConfig& config, const std::string& source_dir,
                           const std::string& dir) {
  RETURN_IF_ERROR(WriteConfig(config, dir));
  const std::optional<json::object> kept = Restored(config, source_dir);
  if (!kept) return absl::OkStatus();
  constexpr const char* kGeneration = "generation_config.json";
  const auto generation = ReadJsonObject(InFolder(source_dir, kGeneration));
  if (generation.ok()) {
    RETURN_IF_ERROR(WriteFile(InFolder(dir, kGeneration), json::serialize(*generation) + "\n"));
  }
  return WriteFile(InFolder(dir, "config.json"), json::serialize(*kept) + "\n");
}

}  // namespace llava::model
