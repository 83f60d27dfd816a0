// What a LLaVA checkpoint is made of: the dimensions and settings of config.json.
//
// Two directory layouts are read. Hugging Face: one config.json with `vision_config` and
// `text_config` (transformers, models/{llava,vipllava,llava_next,llava_onevision}), omitted values
// take transformers' defaults. Original: config.json of github.com/haotian-liu/LLaVA with `mm_*`
// keys beside the text model's, whose vision tower is a CLIP directory of its own. A value that
// this software cannot honour is an error that names it; nothing is ignored silently.
#ifndef LLAVA_MODEL_CONFIG_CONFIG_H_
#define LLAVA_MODEL_CONFIG_CONFIG_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/foreign_codes.h"

namespace llava::model {

enum class Layout { kHuggingFace, kOriginal };

// What a picture becomes, and how the files call the model.
enum class Architecture {
  kLlava,      // "llava": one tile a picture
  kVipLlava,   // "vipllava": several feature layers, normalised before the projector
  kLlavaNext,  // "llava_next", LLaVA-1.6: a picture as a whole and in tiles of its own resolution
  kOnevision,  // "llava_onevision": the same, with many tiles reduced
};

enum class Activation {
  kGelu,       // erf
  kGeluTanh,   // tanh approximation
  kQuickGelu,  // x * sigmoid(1.702 x)
  kRelu,
  kRelu6,      // relu, at most 6
  kLeakyRelu,  // 0.01 x below zero
  kSilu,
  kHardSwish,
  kMish,
  kSigmoid,
  kTanh,
  kIdentity,
};

// A vision transformer. All counts are positive; hidden_size is divisible by num_heads, image_size
// >= patch_size.
struct VisionConfig {
  enum class Tower {
    kClip,    // a class token in front of the patches, a norm before the first layer
    kSiglip,  // neither; the patches have a bias
  };
  Tower tower = Tower::kClip;
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int image_size = 0;  // pixels; the input is image_size x image_size
  int patch_size = 0;  // pixels
  Activation hidden_act = Activation::kQuickGelu;
  double layer_norm_eps = 1e-5;

  int head_dim() const { return hidden_size / num_heads; }
  // Patches of one image, without the class token.
  int patches() const { return patches_per_side() * patches_per_side(); }
  int patches_per_side() const { return image_size / patch_size; }

  friend bool operator==(const VisionConfig&, const VisionConfig&) = default;
};

// Rotary position embeddings, rotate-half layout. The scalings are those of transformers'
// modeling_rope_utils.py.
struct RopeConfig {
  enum class Scaling {
    kNone,
    kLinear,    // positions divided by `factor`
    kDynamic,   // none within max_positions, which is not above original_max_positions
    kLlama3,    // frequencies rescaled by wavelength
    kYarn,      // the same by turns within original_max_positions; angles' cos and sin scaled
    kLongrope,  // each frequency divided by its own factor; cos and sin scaled
  };
  double theta = 10000.0;
  Scaling scaling = Scaling::kNone;
  double factor = 1.0;
  // kLlama3 only.
  double low_freq_factor = 0;
  double high_freq_factor = 0;
  // kYarn only.
  double beta_fast = 0;
  double beta_slow = 0;
  bool truncate = true;
  // kLongrope only: what frequency i is divided by up to original_max_positions, and beyond, where
  // it is not used (see TextConfig::context_bound).
  std::vector<double> short_factors = {};
  std::vector<double> long_factors = {};
  // kYarn and kLongrope: of cos and sin.
  double attention_factor = 1.0;
  // How many dimensions of a head are rotated, the first ones; even, 0: all.
  int rotated = 0;
  // What the model was made for before it was scaled; 0 without scaling.
  int original_max_positions = 0;

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

// What the context ends at.
enum class ContextBound {
  kPositions,  // what the model was made for
  kDynamic,    // where the scalings so called begin: beyond, a token's angles would depend on how
  kLongrope,   // much is said after it
};

// A decoder of Llama's shape; what the families differ in are the settings below. Gated MLP.
// num_heads is divisible by num_kv_heads; head_dim is even and at most kMaxHeadDim
// (base/attention_limits.h).
struct TextConfig {
  std::string model_type = "llama";  // "llama", "mistral", "qwen2", "qwen3" or "phi3"
  int vocab_size = 0;                // rows of the embedding
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  // Tokens, image tokens included: what max_position_embeddings and the scaling make of it.
  int max_positions = 0;
  ContextBound context_bound = ContextBound::kPositions;
  // Of each layer, how many tokens a token sees, itself and those before it; below max_positions.
  // 0: all. Every window has the same size. Empty: all in every layer.
  std::vector<int> windows = {};
  double rms_norm_eps = 1e-6;
  Activation hidden_act = Activation::kSilu;  // of the MLP's gate
  RopeConfig rope;
  bool tie_embeddings = false;  // lm_head is the embedding table
  bool qkv_bias = false;        // of the projections to queries, keys and values
  bool output_bias = false;     // of attention's output projection
  bool mlp_bias = false;
  bool fused = false;    // one matrix of queries, keys and values, one of gate and up
  bool qk_norm = false;  // RMSNorm of each head's query and key before their rotation
  int bos_token_id = 1;
  std::vector<int> eos_token_ids = {2};  // any of them ends an answer; empty: none does

  friend bool operator==(const TextConfig&, const TextConfig&) = default;
};

// depth 1: one linear layer. depth n: n linear layers with `activation` in between.
// Input: vision.hidden_size * feature_layers.size(). Every other width: text.hidden_size.
struct ProjectorConfig {
  int depth = 2;
  Activation activation = Activation::kGelu;
  bool bias = true;
  bool input_norm = false;  // a LayerNorm before the first layer
  double input_norm_eps = 1e-5;

  friend bool operator==(const ProjectorConfig&, const ProjectorConfig&) = default;
};

// Which rows of the chosen hidden state are image features.
enum class SelectStrategy {
  kDropClassToken,  // "default", "patch"
  kKeepClassToken,  // "full", "cls_patch": the class token comes first
};

enum class ImageAspect {
  kCrop,  // shortest edge to image_size, centre crop
  kPad,   // pad to a square with the mean colour first
};

// Pixels, or tiles.
struct Resolution {
  int height = 0;
  int width = 0;

  friend bool operator==(const Resolution&, const Resolution&) = default;
};

// How the tiles of a picture are found and put together again ("anyres").
struct AnyresConfig {
  // What a picture may be resized to, in pixels; multiples of vision.image_size. Not empty.
  std::vector<Resolution> pinpoints;
  // Features of more than so many tiles are resized to about so many; 0: never.
  int max_tiles = 0;

  friend bool operator==(const AnyresConfig&, const AnyresConfig&) = default;
};

// How a checkpoint's weights are stored, or are to be held: as numbers, or as codes of so many bits
// with scales. kInt4: 4 bits in the decoder's layers, 8 elsewhere. kFp8: e4m3 in the decoder's
// layers, numbers elsewhere; never stored.
enum class Quantization { kNone, kInt8, kInt4, kFp8 };

// "int8", "int4", "fp8"; "none" for kNone.
const char* QuantizationName(Quantization quantization);
// The inverse; nothing for any other name.
std::optional<Quantization> QuantizationOf(std::string_view name);
// Whether a checkpoint's files may hold it as codes.
inline bool IsStored(Quantization quantization) {
  return quantization == Quantization::kInt8 || quantization == Quantization::kInt4;
}

// The key of config.json, and its "quant_method" of weights that this software quantised.
inline constexpr char kQuantizationKey[] = "quantization_config";
inline constexpr char kQuantizationMethod[] = "llavad";

// The original code's placeholder for an image token: no row of the embedding.
inline constexpr int kOriginalImageTokenId = -200;

struct LlavaConfig {
  Layout layout = Layout::kHuggingFace;
  Architecture architecture = Architecture::kLlava;
  VisionConfig vision;
  TextConfig text;
  ProjectorConfig projector;
  // As written in the file: indices into the vision tower's hidden states (0 is the input of the
  // first layer), negative from the end. Several are concatenated along the channels, in order.
  std::vector<int> feature_layers = {-2};
  SelectStrategy select = SelectStrategy::kDropClassToken;
  AnyresConfig anyres;  // kLlavaNext and kOnevision only
  // Stands for one image token in prompt ids. Its embedding is never looked up: image features
  // take its place. kOriginalImageTokenId (negative!) in the original layout.
  int image_token_id = 32000;
  int pad_token_id = 0;
  ImageAspect image_aspect = ImageAspect::kCrop;
  bool image_start_end = false;  // original mm_use_im_start_end: <im_start><image><im_end>
  int tokenizer_max_length = 0;  // tokens, original tokenizer_model_max_length; 0: not given
  Quantization quantization = Quantization::kNone;  // as stored
  // What AWQ or GPTQ made of the matrices that have codes in the files; the others are numbers.
  // What is written again are numbers, or codes of our own, so WriteConfig leaves it out.
  std::optional<ForeignCodes> foreign_codes;
  std::string dtype;             // "float16", "bfloat16", "float32" or empty: how it was saved
  std::string name;              // model/config/checkpoint_name.h; empty from ParseConfig
  std::string base_model;        // _name_or_path (of text_config too), as written
  std::string vision_tower;      // original mm_vision_tower, as written
  std::string vision_tower_dir;  // original: the CLIP directory that was read

  // Features of one image of vision.image_size that the vision tower reads: a tile. How many tokens
  // an image has is said by LayoutOf (image_layout.h).
  // Dropping the class token drops the first row, whether the tower has such a token or not.
  int tile_tokens() const {
    const int rows = vision.patches() + (vision.tower == VisionConfig::Tower::kClip ? 1 : 0);
    return rows - (select == SelectStrategy::kDropClassToken ? 1 : 0);
  }
  // A picture is more than one tile.
  bool has_tiles() const { return !anyres.pinpoints.empty(); }
  // feature_layers resolved into [0, vision.num_layers]. Layers above the highest are not needed.
  std::vector<int> FeatureLayerIndices() const;
  int projector_input_size() const {
    return vision.hidden_size * static_cast<int>(feature_layers.size());
  }

  friend bool operator==(const LlavaConfig&, const LlavaConfig&) = default;
};

// Reads DIR/config.json (and DIR/generation_config.json when there, for the end-of-text ids).
// Original layout: the vision tower's config.json (a full CLIP configuration or a vision-only one)
// comes from `vision_tower_dir`, or from mm_vision_tower when that names an existing directory.
// Errors name file, key, expected and found: kNotFound (a file), kInvalidArgument (not LLaVA, a
// wrong type, out of range), kUnimplemented (a setting that is known but not supported).
absl::StatusOr<LlavaConfig> ReadConfig(const std::string& dir,
                                       const std::string& vision_tower_dir = "");

// The same from text: `vision_json` is the CLIP configuration, used in the original layout only.
absl::StatusOr<LlavaConfig> ParseConfig(std::string_view json, std::string_view vision_json);

// DIR/config.json and DIR/generation_config.json in the Hugging Face layout, which transformers
// loads. A projector of depth 2 is what transformers knows; another depth is written with the key
// mm_projector_type, which only this software reads. REQUIRES: image_token_id >= 0.
absl::Status WriteConfig(const LlavaConfig& config, const std::string& dir);

// The JSON text of config.json that WriteConfig writes.
std::string ConfigJson(const LlavaConfig& config);

// Why the context is no longer, for people: "where its dynamic scaling begins, ...", "" where
// nothing is to say.
std::string_view ContextBoundText(ContextBound bound);

// The size of the sliding windows, 0 without any.
int WindowOf(const TextConfig& text);

// The name of the architecture in Hugging Face configurations: "llava_next".
std::string_view ModelType(Architecture architecture);

// The names of Activation in Hugging Face configurations: "gelu", "quick_gelu", "silu", ...
std::string_view ActivationName(Activation activation);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_CONFIG_H_
