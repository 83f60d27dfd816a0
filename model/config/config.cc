#include "model/config/config.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/attention_limits.h"
#include "base/check.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "model/config/checkpoint_name.h"

namespace llava::model {
namespace {

// Bounds that no sensible model reaches, so that a hostile file cannot ask for absurd memory.
constexpr int kMaxVocab = 1 << 20;
constexpr int kMaxWidth = 1 << 16;
constexpr int kMaxInner = 1 << 18;
constexpr int kMaxLayers = 512;
constexpr int kMaxHeads = 1024;
constexpr int kMaxPositions = 1 << 22;
constexpr int kMaxImageSize = 8192;
constexpr int kMaxPatches = 1 << 16;
constexpr int kMaxDepth = 16;
constexpr int kMaxFeatureLayers = 16;
constexpr int kMaxEosIds = 16;

int IntOf(JsonReader& reader, std::string_view key, int otherwise, int low, int high) {
  return static_cast<int>(reader.Int(key, otherwise, low, high));
}

std::vector<int> IntsOf(JsonReader& reader, std::string_view key, std::vector<int> otherwise,
                        int low, int high, std::size_t max_count) {
  const auto items =
      reader.IntOrInts(key, {otherwise.begin(), otherwise.end()}, low, high, max_count);
  return std::vector<int>(items.begin(), items.end());
}

// A setting that is known, but has only one supported value.
void OnlyFalse(JsonReader& reader, std::string_view key) {
  if (reader.Bool(key, false)) reader.Fail(key, "false (true is not supported)");
}

void OnlyAbsent(JsonReader& reader, std::string_view key) {
  if (reader.Has(key)) reader.Fail(key, "nothing (this setting is not supported)");
}

struct ActivationEntry {
  std::string_view name;
  Activation activation;
};
// The first name of an activation is the one that is written.
constexpr ActivationEntry kActivations[] = {
    {"gelu", Activation::kGelu},         {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_new", Activation::kGeluTanh}, {"quick_gelu", Activation::kQuickGelu},
    {"relu", Activation::kRelu},         {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},        {"linear", Activation::kIdentity},
};

Activation ActivationOf(JsonReader& reader, std::string_view key, std::string otherwise) {
  const std::string name = reader.String(key, std::move(otherwise));
  for (const auto& entry : kActivations) {
    if (entry.name == name) return entry.activation;
  }
  reader.Fail(key,
              "a supported activation (gelu, gelu_pytorch_tanh, quick_gelu, relu, silu, linear)");
  return Activation::kGelu;
}

// One number, or transformers 5's list [height, width] of equal ones.
int SquareOf(JsonReader& reader, std::string_view key, int otherwise) {
  const auto sides = IntsOf(reader, key, {otherwise}, 1, kMaxImageSize, 2);
  if (sides.size() == 2 && sides[0] != sides[1]) reader.Fail(key, "equal height and width");
  return sides[0];
}

// Defaults: those of CLIPVisionConfig.
VisionConfig ReadVision(JsonReader reader) {
  VisionConfig v;
  const std::string type = reader.String("model_type", "clip_vision_model");
  if (type != "clip_vision_model") reader.Fail("model_type", "clip_vision_model");
  v.hidden_size = IntOf(reader, "hidden_size", 768, 1, kMaxWidth);
  v.intermediate_size = IntOf(reader, "intermediate_size", 3072, 1, kMaxInner);
  v.num_layers = IntOf(reader, "num_hidden_layers", 12, 1, kMaxLayers);
  v.num_heads = IntOf(reader, "num_attention_heads", 12, 1, kMaxHeads);
  v.image_size = SquareOf(reader, "image_size", 224);
  v.patch_size = SquareOf(reader, "patch_size", 32);
  v.hidden_act = ActivationOf(reader, "hidden_act", "quick_gelu");
  v.layer_norm_eps = reader.Double("layer_norm_eps", 1e-5, 1e-12, 1);
  if (IntOf(reader, "num_channels", 3, 1, 1024) != 3) reader.Fail("num_channels", "3");
  if (v.hidden_size % v.num_heads != 0) {
    reader.Fail("hidden_size", absl::StrCat("a multiple of num_attention_heads ", v.num_heads));
  }
  if (v.patch_size > v.image_size) {
    reader.Fail("patch_size", absl::StrCat("at most image_size ", v.image_size));
  } else if (v.patches() > kMaxPatches) {
    reader.Fail("patch_size",
                absl::StrCat("at most ", kMaxPatches, " patches in image_size ", v.image_size));
  }
  return v;
}

// LlavaConfig's own default when there is no vision_config: CLIP ViT-L/14 at 336 pixels.
VisionConfig DefaultVision() {
  VisionConfig v;
  v.hidden_size = 1024;
  v.intermediate_size = 4096;
  v.num_layers = 24;
  v.num_heads = 16;
  v.image_size = 336;
  v.patch_size = 14;
  return v;
}

void ReadRopeScaling(JsonReader reader, int max_positions, RopeConfig& rope) {
  const std::string_view key = reader.Has("rope_type") ? "rope_type" : "type";
  const std::string type = reader.String(key, "default");
  if (type == "default") return;
  rope.factor = reader.Double("factor", 1.0, 1.0, 1e6);
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::kLinear;
    rope.original_max_positions = max_positions;
  } else if (type == "llama3") {
    rope.scaling = RopeConfig::Scaling::kLlama3;
    rope.low_freq_factor = reader.Double("low_freq_factor", 0, 1e-6, 1e6);
    rope.high_freq_factor = reader.Double("high_freq_factor", 0, 1e-6, 1e6);
    rope.original_max_positions =
        IntOf(reader, "original_max_position_embeddings", max_positions, 1, kMaxPositions);
    if (rope.low_freq_factor <= 0) reader.Fail("low_freq_factor", "a positive number");
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      reader.Fail("high_freq_factor", "a number above low_freq_factor");
    }
  } else {
    reader.Fail(key, "a supported scaling (default, linear, llama3)");
  }
  if (!reader.Has("factor")) reader.Fail("factor", "a number");
}

// transformers 4: rope_theta and rope_scaling. transformers 5: both inside rope_parameters.
RopeConfig ReadRope(JsonReader& reader, int max_positions) {
  RopeConfig rope;
  rope.theta = reader.Double("rope_theta", 10000.0, 1.0, 1e12);
  if (reader.Has("rope_scaling"))
    ReadRopeScaling(reader.Object("rope_scaling"), max_positions, rope);
  if (reader.Has("rope_parameters")) {
    JsonReader nested = reader.Object("rope_parameters");
    rope.theta = nested.Double("rope_theta", rope.theta, 1.0, 1e12);
    if (nested.Double("partial_rotary_factor", 1, 0, 1) != 1) {
      nested.Fail("partial_rotary_factor", "1");
    }
    ReadRopeScaling(nested, max_positions, rope);
  }
  if (reader.Double("partial_rotary_factor", 1, 0, 1) != 1)
    reader.Fail("partial_rotary_factor", "1");
  return rope;
}

void RejectUnsupportedText(JsonReader& reader) {
  if (reader.String("hidden_act", "silu") != "silu") reader.Fail("hidden_act", "silu");
  OnlyFalse(reader, "attention_bias");
  OnlyFalse(reader, "mlp_bias");
  OnlyAbsent(reader, "quantization_config");
}

// Linear scaling makes the model see `factor` times the positions that its configuration counts
// (vLLM, _get_and_verify_max_len). Within its window, sliding-window attention is full attention:
// the window is kept by allowing no longer context. MistralConfig's default, where the key is
// missing, is 4096.
int MaxPositions(JsonReader& reader, bool mistral, int unscaled, const RopeConfig& rope) {
  const bool linear = rope.scaling == RopeConfig::Scaling::kLinear;
  const int positions =
      static_cast<int>(std::min<double>(linear ? unscaled * rope.factor : unscaled, kMaxPositions));
  const int no_window = mistral && !reader.Contains("sliding_window") ? 4096 : kMaxPositions;
  return std::min(positions, IntOf(reader, "sliding_window", no_window, 1, kMaxPositions));
}

// The kernels of every device refuse other heads, so that a checkpoint with one is wrong here
// already, whether the file says head_dim or leaves it to be computed.
int ReadHeadDim(JsonReader& reader, const TextConfig& t) {
  const int head_dim = IntOf(reader, "head_dim", t.hidden_size / t.num_heads, 2, kMaxHeadDim);
  if (head_dim < 2 || head_dim > kMaxHeadDim || head_dim % 2 != 0) {
    reader.Fail("head_dim", absl::StrCat("an even number from 2 to ", kMaxHeadDim,
                                         " (hidden_size / num_attention_heads where it is not "
                                         "given, here ",
                                         t.hidden_size / t.num_heads, ")"));
  }
  return head_dim;
}

// Defaults: those of LlamaConfig or MistralConfig.
TextConfig ReadText(JsonReader reader, std::string model_type) {
  TextConfig t;
  t.model_type = std::move(model_type);
  const bool mistral = t.model_type == "mistral";
  if (!mistral && t.model_type != "llama") reader.Fail("model_type", "llama or mistral");
  t.vocab_size = IntOf(reader, "vocab_size", 32000, 1, kMaxVocab);
  t.hidden_size = IntOf(reader, "hidden_size", 4096, 1, kMaxWidth);
  t.intermediate_size = IntOf(reader, "intermediate_size", mistral ? 14336 : 11008, 1, kMaxInner);
  t.num_layers = IntOf(reader, "num_hidden_layers", 32, 1, kMaxLayers);
  t.num_heads = IntOf(reader, "num_attention_heads", 32, 1, kMaxHeads);
  t.num_kv_heads = IntOf(reader, "num_key_value_heads", mistral ? 8 : t.num_heads, 1, kMaxHeads);
  if (t.num_heads % t.num_kv_heads != 0) {
    reader.Fail("num_key_value_heads",
                absl::StrCat("a divisor of num_attention_heads ", t.num_heads));
  }
  if (!reader.Has("head_dim") && t.hidden_size % t.num_heads != 0) {
    reader.Fail("hidden_size", absl::StrCat("a multiple of num_attention_heads ", t.num_heads));
  }
  t.head_dim = ReadHeadDim(reader, t);
  const int unscaled =
      IntOf(reader, "max_position_embeddings", mistral ? 4096 * 32 : 2048, 1, kMaxPositions);
  t.rms_norm_eps = reader.Double("rms_norm_eps", 1e-6, 1e-12, 1);
  t.rope = ReadRope(reader, unscaled);
  t.max_positions = MaxPositions(reader, mistral, unscaled, t.rope);
  t.tie_embeddings = reader.Bool("tie_word_embeddings", false);
  t.bos_token_id = IntOf(reader, "bos_token_id", 1, 0, t.vocab_size - 1);
  t.eos_token_ids = IntsOf(reader, "eos_token_id", {2}, 0, t.vocab_size - 1, kMaxEosIds);
  RejectUnsupportedText(reader);
  return t;
}

SelectStrategy ReadSelect(JsonReader& reader, std::string_view key) {
  const std::string name = reader.String(key, "default");
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

void ReadFeatureLayers(JsonReader& reader, std::string_view key, LlavaConfig& config) {
  const int layers = config.vision.num_layers;
  config.feature_layers = IntsOf(reader, key, {-2}, -layers - 1, layers, kMaxFeatureLayers);
}

LlavaConfig ReadHuggingFace(JsonReader& reader) {
  LlavaConfig config;
  config.vision =
      reader.Has("vision_config") ? ReadVision(reader.Object("vision_config")) : DefaultVision();
  JsonReader text = reader.Object("text_config");
  config.text = ReadText(text, text.String("model_type", "llama"));
  // transformers ties when either place says so (configuration_llava.py).
  config.text.tie_embeddings |= reader.Bool("tie_word_embeddings", false);
  config.projector.activation = ActivationOf(reader, "projector_hidden_act", "gelu");
  config.projector.bias = reader.Bool("multimodal_projector_bias", true);
  if (reader.Has("mm_projector_type")) ReadProjectorType(reader, config.projector);
  ReadFeatureLayers(reader, "vision_feature_layer", config);
  config.select = ReadSelect(reader, "vision_feature_select_strategy");
  const std::string_view key =
      reader.Has("image_token_index") ? "image_token_index" : "image_token_id";
  config.image_token_id = IntOf(reader, key, 32000, 0, config.text.vocab_size - 1);
  if (config.image_token_id >= config.text.vocab_size) {
    reader.Fail(key, absl::StrCat("an id below text_config.vocab_size ", config.text.vocab_size));
  }
  ReadPadToken(text, config);
  ReadPadToken(reader, config);
  config.dtype = ReadDtype(reader);
  if (config.dtype.empty()) config.dtype = ReadDtype(text);
  config.base_model = text.String("_name_or_path", reader.String("_name_or_path", ""));
  OnlyAbsent(reader, "quantization_config");
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
  config.text = ReadText(reader, mistral ? "mistral" : "llama");
  ReadProjectorType(reader, config.projector);
  ReadFeatureLayers(reader, "mm_vision_select_layer", config);
  if (!reader.Has("mm_vision_select_layer")) reader.Fail("mm_vision_select_layer", "an integer");
  config.select = ReadSelect(reader, "mm_vision_select_feature");
  config.image_token_id = kOriginalImageTokenId;
  ReadPadToken(reader, config);
  config.image_aspect = ReadAspect(reader);
  config.image_start_end = reader.Bool("mm_use_im_start_end", false);
  config.tokenizer_max_length = IntOf(reader, "tokenizer_model_max_length", 0, 1, kMaxPositions);
  config.dtype = ReadDtype(reader);
  config.base_model = reader.String("_name_or_path", "");
  config.vision_tower = reader.String("mm_vision_tower", "");
  OnlyFalse(reader, "s2");
  OnlyAbsent(reader, "mm_resampler_type");
  if (IntOf(reader, "mm_hidden_size", vision.hidden_size, 1, kMaxWidth) != vision.hidden_size) {
    reader.Fail("mm_hidden_size",
                absl::StrCat("the vision tower's hidden_size ", vision.hidden_size));
  }
  return config;
}

// A full CLIP configuration holds a vision_config; a vision-only one is itself one.
absl::StatusOr<VisionConfig> ReadTower(std::string_view json, const std::string& file) {
  ASSIGN_OR_RETURN(const auto object, ParseJsonObject(json, file));
  JsonReader reader(file, object);
  const std::string type = reader.String("model_type", "clip");
  if (type != "clip" && type != "clip_vision_model") {
    reader.Fail("model_type", "clip or clip_vision_model");
  }
  VisionConfig vision;
  if (type == "clip") {
    if (!reader.Has("vision_config")) reader.Fail("vision_config", "an object");
    vision = ReadVision(reader.Object("vision_config"));
  } else {
    vision = ReadVision(reader);
  }
  RETURN_IF_ERROR(reader.status());
  return vision;
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
    ASSIGN_OR_RETURN(const VisionConfig vision, ReadTower(tower_json, files.tower));
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
  if (type != "llava" && !original) {
    reader.Fail("model_type", "a LLaVA model (llava, llava_llama or llava_mistral)");
  } else if (original && !reader.Has("mm_vision_tower")) {
    reader.Fail("mm_vision_tower", "the name of a CLIP vision tower");
  }
  return reader.status();
}

// The directory of the CLIP tower in the original layout.
absl::StatusOr<std::string> TowerDir(JsonReader& reader, const std::string& given) {
  if (!given.empty()) return given;
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
  text.eos_token_ids =
      IntsOf(reader, "eos_token_id", text.eos_token_ids, 0, text.vocab_size - 1, kMaxEosIds);
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

std::string_view ActivationName(Activation activation) {
  for (const auto& entry : kActivations) {
    if (entry.activation == activation) return entry.name;
  }
  LLAVA_CHECK(false);
  return "";
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
