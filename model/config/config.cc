#include "model/config/config.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "model/config/checkpoint_name.h"
#include "model/config/config_fields.h"
#include "model/config/hub_folder.h"
#include "model/config/text_config.h"
#include "model/config/vision_config.h"

namespace llava::model {
namespace {

constexpr int kMaxDepth = 16;
constexpr int kMaxFeatureLayers = 16;
constexpr std::size_t kMaxPinpoints = 256;
// Of one picture: far above what any checkpoint asks for (49).
constexpr int kMaxTiles = 256;

struct ArchitectureEntry {
  Architecture architecture;
  std::string_view model_type;
  // transformers' default, where config.json says nothing:
  std::string_view select;
  std::string_view text_type;
  int image_token;
};
constexpr ArchitectureEntry kArchitectures[] = {
    {Architecture::kLlava, "llava", "default", "llama", 32000},
    {Architecture::kVipLlava, "vipllava", "default", "llama", 32000},
    {Architecture::kLlavaNext, "llava_next", "default", "llama", 32000},
    {Architecture::kOnevision, "llava_onevision", "full", "qwen2", 151646},
};

SelectStrategy ReadSelect(JsonReader& reader, std::string_view key, std::string_view otherwise) {
  const std::string name = reader.String(key, std::string(otherwise));
  if (name == "full" || name == "cls_patch") return SelectStrategy::kKeepClassToken;
  if (name != "default" && name != "patch") {
    reader.Fail(key, "default, full, patch or cls_patch");
  }
  return SelectStrategy::kDropClassToken;
}

std::string ReadDtype(JsonReader& reader) {
  for (const std::string_view key : {"dtype", "torch_dtype"}) {
    const std::string name = reader.String(key, "");
    if (name == "float16" || name == "bfloat16" || name == "float32") return name;
  }
  return "";
}

// linear, or mlpNx_gelu: llava/model/multimodal_projector/builder.py.
void ReadProjectorType(JsonReader& reader, ProjectorConfig& projector) {
  const std::string type = reader.String("mm_projector_type", "linear");
  absl::string_view digits = type;
  int depth = 1;
  const bool mlp = absl::ConsumePrefix(&digits, "mlp") && absl::ConsumeSuffix(&digits, "x_gelu") &&
                   absl::SimpleAtoi(digits, &depth) && depth >= 1 && depth <= kMaxDepth;
  if (type != "linear" && !mlp) {
    reader.Fail("mm_projector_type", absl::StrCat("linear or mlpNx_gelu with N up to ", kMaxDepth));
  }
  projector.depth = mlp ? depth : 1;
}

// A padding token that was added without a row of the embedding is never fed.
void ReadPadToken(JsonReader& reader, LlavaConfig& config) {
  const int pad = IntOf(reader, "pad_token_id", -1, -1, kMaxVocab);
  if (pad >= 0 && pad < config.text.vocab_size) config.pad_token_id = pad;
}

void ReadFeatureLayers(JsonReader& reader, std::string_view key, std::vector<int> otherwise,
                       LlavaConfig& config) {
  const int layers = config.vision.num_layers;
  config.feature_layers =
      IntsOf(reader, key, std::move(otherwise), -layers - 1, layers, kMaxFeatureLayers);
}

// [[height, width], ...]
std::vector<Resolution> ReadPinpoints(JsonReader& reader, std::string_view key, int side) {
  std::vector<Resolution> pinpoints;
  const auto fail = [&] {
    reader.Fail(key, absl::StrCat("pairs of height and width, multiples of the vision tower's ",
                                  side, " pixels and of at most ", kMaxTiles, " tiles, up to ",
                                  kMaxPinpoints, " pairs"));
    return std::vector<Resolution>();
  };
  const boost::json::value* value = reader.Find(key);
  if (value == nullptr || !value->is_array()) return fail();
  const boost::json::array& list = value->get_array();
  if (list.empty() || list.size() > kMaxPinpoints) return fail();
  const auto side_of = [side](const boost::json::value& v) {
    const bool good = v.is_int64() && v.get_int64() >= side && v.get_int64() % side == 0 &&
                      v.get_int64() / side <= kMaxTiles;
    return good ? static_cast<int>(v.get_int64()) : 0;
  };
  for (const boost::json::value& item : list) {
    if (!item.is_array() || item.get_array().size() != 2) return fail();
    const Resolution at = {side_of(item.get_array()[0]), side_of(item.get_array()[1])};
    if (at.height == 0 || at.width == 0 || at.height / side * (at.width / side) > kMaxTiles) {
      return fail();
    }
    pinpoints.push_back(at);
  }
  return pinpoints;
}

// "anyres_max_9": features of more than 9 tiles are reduced.
int ReadMaxTiles(JsonReader& reader, std::string_view key) {
  const std::string name = reader.String(key, "anyres_max_9");
  absl::string_view number = name;
  int tiles = 0;
  if (!absl::ConsumePrefix(&number, "anyres_max_") || !absl::SimpleAtoi(number, &tiles) ||
      tiles < 1 || tiles > kMaxTiles) {
    reader.Fail(key, absl::StrCat("anyres_max_N with N up to ", kMaxTiles));
  }
  return tiles;
}

void ReadAnyres(JsonReader& reader, LlavaConfig& config) {
  constexpr std::string_view kPinpoints = "image_grid_pinpoints";
  const int side = config.vision.image_size;
  const bool onevision = config.architecture == Architecture::kOnevision;
  if (onevision) config.anyres.max_tiles = ReadMaxTiles(reader, "vision_aspect_ratio");
  if (reader.Has(kPinpoints)) {
    config.anyres.pinpoints = ReadPinpoints(reader, kPinpoints, side);
  } else if (onevision && side == 384) {  // LlavaOnevisionConfig's default: up to 6 x 6
    for (int h = 1; h <= 6; ++h) {
      for (int w = 1; w <= 6; ++w) config.anyres.pinpoints.push_back({h * side, w * side});
    }
  } else if (!onevision && side == 336) {  // LlavaNextConfig's
    config.anyres.pinpoints = {{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}};
  } else {
    reader.Fail(kPinpoints,
                absl::StrCat("pairs of height and width for a vision tower of ", side, " pixels"));
  }
  // The patches of a tile are laid out in rows: each must be there, and nothing else.
  if (config.tile_tokens() != config.vision.patches()) {
    reader.Fail("vision_feature_select_strategy",
                config.vision.tower == VisionConfig::Tower::kClip
                    ? "default (without the class token, which has no place in a tile's rows)"
                    : "full (SigLIP has no class token to drop)");
  }
}

void ReadProjector(JsonReader& reader, LlavaConfig& config) {
  config.projector.activation = ActivationOf(reader, "projector_hidden_act", "gelu");
  config.projector.bias = reader.Bool("multimodal_projector_bias", true);
  if (config.architecture == Architecture::kVipLlava) {
    config.projector.bias = true;
    config.projector.input_norm = true;
    config.projector.input_norm_eps = reader.Double("projector_layernorm_eps", 1e-5, 1e-12, 1);
    // transformers 5 calls it as the other models do.
    const std::string_view key =
        reader.Has("vision_feature_layers") ? "vision_feature_layers" : "vision_feature_layer";
    ReadFeatureLayers(reader, key, {-2, -5, -8, -11, 6}, config);
  } else {
    const bool last = config.architecture == Architecture::kOnevision;
    ReadFeatureLayers(reader, "vision_feature_layer", {last ? -1 : -2}, config);
  }
  if (reader.Has("mm_projector_type")) ReadProjectorType(reader, config.projector);
}

const ArchitectureEntry& EntryOf(std::string_view model_type) {
  for (const ArchitectureEntry& entry : kArchitectures) {
    if (entry.model_type == model_type) return entry;
  }
  return kArchitectures[0];
}

VisionConfig ReadTower(JsonReader& reader, Architecture architecture) {
  if (reader.Has("vision_config")) return ReadVisionConfig(reader.Object("vision_config"));
  return architecture == Architecture::kOnevision ? DefaultSiglip() : DefaultClip();
}

LlavaConfig ReadHuggingFace(JsonReader& reader) {
  LlavaConfig config;
  const ArchitectureEntry& entry = EntryOf(reader.String("model_type", ""));
  config.architecture = entry.architecture;
  config.vision = ReadTower(reader, entry.architecture);
  JsonReader text = reader.Object("text_config");
  config.text = ReadTextConfig(text, text.String("model_type", std::string(entry.text_type)));
  // transformers generates with those of the whole where it has some.
  config.text.eos_token_ids =
      ReadEndTokens(reader, config.text.eos_token_ids, config.text.vocab_size);
  // transformers ties when either place says so (configuration_llava.py).
  config.text.tie_embeddings |= reader.Bool("tie_word_embeddings", false);
  ReadProjector(reader, config);
  config.select = entry.architecture == Architecture::kVipLlava
                      ? SelectStrategy::kDropClassToken
                      : ReadSelect(reader, "vision_feature_select_strategy", entry.select);
  if (entry.architecture == Architecture::kLlavaNext ||
      entry.architecture == Architecture::kOnevision) {
    ReadAnyres(reader, config);
  }
  const std::string_view key =
      reader.Has("image_token_index") ? "image_token_index" : "image_token_id";
  config.image_token_id = IntOf(reader, key, entry.image_token, 0, config.text.vocab_size - 1);
  if (config.image_token_id >= config.text.vocab_size) {
    reader.Fail(key, absl::StrCat("an id below text_config.vocab_size ", config.text.vocab_size));
  }
  ReadPadToken(text, config);
  ReadPadToken(reader, config);
  config.dtype = ReadDtype(reader);
  if (config.dtype.empty()) config.dtype = ReadDtype(text);
  config.base_model = text.String("_name_or_path", reader.String("_name_or_path", ""));
  // Of a model that was quantised as a part of this one, in its own configuration.
  const bool says_whole = reader.Has(kQuantizationKey);
  if (says_whole) OnlyAbsent(text, kQuantizationKey);
  ReadQuantization(says_whole ? reader : text, config);
  return config;
}

ImageAspect ReadAspect(JsonReader& reader) {
  const std::string name = reader.String("image_aspect_ratio", "square");
  if (name == "pad") return ImageAspect::kPad;
  if (name != "square" && name != "crop" && name != "default") {
    reader.Fail("image_aspect_ratio", "pad, square, crop or default (anyres is not supported)");
  }
  return ImageAspect::kCrop;
}

LlavaConfig ReadOriginal(JsonReader& reader, const VisionConfig& vision) {
  LlavaConfig config;
  config.layout = Layout::kOriginal;
  config.vision = vision;
  const bool mistral = reader.String("model_type", "") == "llava_mistral";
  config.text = ReadTextConfig(reader, mistral ? "mistral" : "llama");
  ReadProjectorType(reader, config.projector);
  ReadFeatureLayers(reader, "mm_vision_select_layer", {-2}, config);
  if (!reader.Has("mm_vision_select_layer")) reader.Fail("mm_vision_select_layer", "an integer");
  config.select = ReadSelect(reader, "mm_vision_select_feature", "default");
  config.image_token_id = kOriginalImageTokenId;
  ReadPadToken(reader, config);
  config.image_aspect = ReadAspect(reader);
  config.image_start_end = reader.Bool("mm_use_im_start_end", false);
  config.tokenizer_max_length = IntOf(reader, "tokenizer_model_max_length", 0, 1, kMaxPositions);
  config.dtype = ReadDtype(reader);
  config.base_model = reader.String("_name_or_path", "");
  config.vision_tower = reader.String("mm_vision_tower", "");
  ReadQuantization(reader, config);
  OnlyFalse(reader, "s2");
  OnlyAbsent(reader, "mm_resampler_type");
  if (IntOf(reader, "mm_hidden_size", vision.hidden_size, 1, kMaxWidth) != vision.hidden_size) {
    reader.Fail("mm_hidden_size",
                absl::StrCat("the vision tower's hidden_size ", vision.hidden_size));
  }
  return config;
}

// What errors call the two files.
struct Files {
  std::string config = "config.json";
  std::string tower = "vision tower config.json";
};

absl::StatusOr<LlavaConfig> Parse(JsonReader& reader, std::string_view tower_json,
                                  const Files& files) {
  LlavaConfig config;
  if (reader.Has("mm_vision_tower")) {
    ASSIGN_OR_RETURN(const VisionConfig vision, ParseTowerConfig(tower_json, files.tower));
    config = ReadOriginal(reader, vision);
  } else {
    config = ReadHuggingFace(reader);
  }
  RETURN_IF_ERROR(reader.status());
  return config;
}

absl::Status CheckIsLlava(JsonReader& reader) {
  const std::string type = reader.String("model_type", "");
  const bool original = type == "llava_llama" || type == "llava_mistral";
  const bool known = EntryOf(type).model_type == type;
  if (!known && !original) {
    reader.Fail("model_type",
                "a LLaVA model (llava, llava_next, llava_onevision, vipllava, llava_llama or "
                "llava_mistral)");
  } else if (original && !reader.Has("mm_vision_tower")) {
    reader.Fail("mm_vision_tower", "the name of a CLIP vision tower");
  }
  return reader.status();
}

// The directory of the CLIP tower in the original layout.
absl::StatusOr<std::string> TowerDir(JsonReader& reader, const std::string& given) {
  if (!given.empty()) return SnapshotOf(given);
  const std::string named = reader.String("mm_vision_tower", "");
  std::error_code error;
  if (std::filesystem::is_directory(named, error)) return named;
  return absl::NotFoundError(absl::StrCat(
      reader.file(), ": mm_vision_tower: expected a directory with a CLIP vision tower, found \"",
      named, "\", which is not one here: name the directory (--vision-tower DIR)"));
}

// transformers' generate() ends at the ids of generation_config.json when there is one.
absl::Status ReadGenerationConfig(const std::string& path, TextConfig& text) {
  if (!IsThere(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto object, ReadJsonObject(path));
  JsonReader reader(path, object);
  text.eos_token_ids = ReadEndTokens(reader, text.eos_token_ids, text.vocab_size);
  return reader.status();
}

}  // namespace

std::vector<int> LlavaConfig::FeatureLayerIndices() const {
  std::vector<int> indices;
  indices.reserve(feature_layers.size());
  for (const int layer : feature_layers) {
    indices.push_back(layer < 0 ? vision.num_layers + 1 + layer : layer);
  }
  return indices;
}

std::string_view ModelType(Architecture architecture) {
  for (const ArchitectureEntry& entry : kArchitectures) {
    if (entry.architecture == architecture) return entry.model_type;
  }
  LLAVA_CHECK(false);
  return "";
}

const char* QuantizationName(Quantization quantization) {
  switch (quantization) {
    case Quantization::kNone:
      return "none";
    case Quantization::kInt8:
      return "int8";
    case Quantization::kInt4:
      return "int4";
    case Quantization::kFp8:
      return "fp8";
  }
  LLAVA_CHECK(false);
}

std::optional<Quantization> QuantizationOf(std::string_view name) {
  for (const Quantization known :
       {Quantization::kNone, Quantization::kInt8, Quantization::kInt4, Quantization::kFp8}) {
    if (name == QuantizationName(known)) return known;
  }
  return std::nullopt;
}

absl::StatusOr<LlavaConfig> ParseConfig(std::string_view json, std::string_view vision_json) {
  const Files files;
  ASSIGN_OR_RETURN(const auto object, ParseJsonObject(json, files.config));
  JsonReader reader(files.config, object);
  RETURN_IF_ERROR(CheckIsLlava(reader));
  return Parse(reader, vision_json, files);
}

absl::StatusOr<LlavaConfig> ReadConfig(const std::string& dir,
                                       const std::string& vision_tower_dir) {
  Files files;
  files.config = (std::filesystem::path(dir) / "config.json").string();
  ASSIGN_OR_RETURN(const auto object, ReadJsonObject(files.config));
  JsonReader reader(files.config, object);
  RETURN_IF_ERROR(CheckIsLlava(reader));
  std::string tower_dir;
  std::string tower_json;
  if (reader.Has("mm_vision_tower")) {
    ASSIGN_OR_RETURN(tower_dir, TowerDir(reader, vision_tower_dir));
    files.tower = (std::filesystem::path(tower_dir) / "config.json").string();
    ASSIGN_OR_RETURN(tower_json, ReadFile(files.tower, std::size_t{1} << 20));
  }
  ASSIGN_OR_RETURN(LlavaConfig config, Parse(reader, tower_json, files));
  config.vision_tower_dir = tower_dir;
  config.name = CheckpointName(dir);
  RETURN_IF_ERROR(ReadGenerationConfig(
      (std::filesystem::path(dir) / "generation_config.json").string(), config.text));
  return config;
}

}  // namespace llava::model
