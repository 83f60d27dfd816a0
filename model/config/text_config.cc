#include "model/config/text_config.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/attention_limits.h"
#include "model/config/config_fields.h"
#include "model/config/rope_config.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxEosIds = 16;

// What transformers' configuration classes take where a file says nothing.
struct Family {
  std::string_view model_type;
  int vocab_size;
  int hidden_size;
  int intermediate_size;
  int num_kv_heads;  // 0: as many as heads
  int head_dim;      // 0: hidden_size / num_attention_heads
  int max_positions;
  bool qkv_bias;           // always, whatever attention_bias says
  bool qk_norm;            // always
  int end_token;           // -1: none
  bool asks_for_window;    // sliding_window counts only with use_sliding_window
  int window;              // 0: none
  int original_positions;  // 0: as many as max_position_embeddings
  double rms_norm_eps;
  bool fused;
  // Settings that the other families have not: what a file says of them changes nothing.
  bool may_have_window;
  bool may_have_attention_bias;
  bool may_have_mlp_bias;
};
constexpr Family kFamilies[] = {
    {"llama", 32000, 4096, 11008, 0, 0, 2048, false, false, 2, false, 0, 0, 1e-6, false, false,
     true, true},
    {"mistral", 32000, 4096, 14336, 8, 0, 4096 * 32, false, false, 2, false, 4096, 0, 1e-6, false,
     true, false, false},
    {"qwen2", 151936, 4096, 22016, 32, 0, 32768, true, false, -1, true, 4096, 0, 1e-6, false, true,
     false, false},
    {"qwen3", 151936, 4096, 22016, 32, 128, 32768, false, true, -1, true, 4096, 0, 1e-6, false,
     true, true, false},
    {"phi3", 32064, 3072, 8192, 0, 0, 4096, false, false, 32000, false, 0, 4096, 1e-5, true, true,
     false, false},
};

Family FamilyOf(JsonReader& reader, std::string_view model_type) {
  for (const Family& family : kFamilies) {
    if (family.model_type == model_type) return family;
  }
  reader.Fail("model_type", "a supported language model (llama, mistral, qwen2, qwen3, phi3)");
  return kFamilies[0];
}

// Which of the layers have the window, as `layer_types` lists them.
std::vector<bool> ListedWindows(JsonReader& reader, std::size_t layers) {
  const boost::json::value& listed = *reader.Find("layer_types");
  std::vector<bool> windowed;
  bool known = listed.is_array() && listed.get_array().size() == layers;
  for (std::size_t i = 0; known && i < layers; ++i) {
    const boost::json::value& type = listed.get_array()[i];
    windowed.push_back(type == "sliding_attention");
    known = windowed.back() || type == "full_attention";
  }
  if (!known) {
    reader.Fail("layer_types", absl::StrCat("a list of num_hidden_layers ", layers,
                                            " full_attention or sliding_attention"));
  }
  return windowed;
}

// Which of the layers attend to no more than the last `sliding_window` tokens; empty: none.
std::vector<bool> WindowedLayers(JsonReader& reader, const Family& family, std::size_t layers) {
  if (!family.may_have_window) return {};
  if (!family.asks_for_window) return std::vector<bool>(layers, true);
  const bool may = reader.Bool("use_sliding_window", false);
  std::vector<bool> windowed;
  if (reader.Has("layer_types")) {
    windowed = ListedWindows(reader, layers);
  } else if (may) {
    const int without = IntOf(reader, "max_window_layers", 28, 0, kMaxLayers);
    windowed.resize(std::min(static_cast<std::size_t>(without), layers));
    windowed.resize(layers, true);
  }
  if (std::find(windowed.begin(), windowed.end(), true) == windowed.end()) return {};
  if (!may) reader.Fail("layer_types", "full_attention without use_sliding_window");
  return windowed;
}

// A window that holds the whole context hides nothing.
void ReadWindows(JsonReader& reader, const Family& family, TextConfig& t) {
  const std::vector<bool> windowed =
      WindowedLayers(reader, family, static_cast<std::size_t>(t.num_layers));
  const bool by_default = !reader.Contains("sliding_window") && family.window != 0;
  if (windowed.empty() || (!by_default && !reader.Has("sliding_window"))) return;
  const int window = IntOf(reader, "sliding_window", family.window, 1, kMaxPositions);
  if (window >= t.max_positions) return;
  for (const bool has : windowed) t.windows.push_back(has ? window : 0);
}

// Linear scaling makes the model see `factor` times the positions that its configuration counts
// (vLLM, _get_and_verify_max_len), and yarn as many times what it was made for. Dynamic scaling
// changes nothing up to what the configuration counts, and longrope has one set of factors up to
// what the model was made for; they are used no further: beyond, the angles of a token would
// depend on how much was said after it.
void SetContext(JsonReader& reader, const Family& family, int unscaled, TextConfig& t) {
  const RopeConfig& rope = t.rope;
  double positions = unscaled;
  if (rope.scaling == RopeConfig::Scaling::kLinear) positions = unscaled * rope.factor;
  if (rope.scaling == RopeConfig::Scaling::kYarn) {
    positions = std::max(positions, rope.original_max_positions * rope.factor);
  }
  if (rope.scaling == RopeConfig::Scaling::kDynamic ||
      rope.scaling == RopeConfig::Scaling::kLongrope) {
    positions = std::min(unscaled, rope.original_max_positions);
    t.context_bound = rope.scaling == RopeConfig::Scaling::kDynamic ? ContextBound::kDynamic
                                                                    : ContextBound::kLongrope;
  }
  t.max_positions = static_cast<int>(std::min<double>(positions, kMaxPositions));
  ReadWindows(reader, family, t);
}

// The kernels of every device refuse other heads, so that a checkpoint with one is wrong here
// already, whether the file says head_dim or leaves it to be computed.
int ReadHeadDim(JsonReader& reader, const TextConfig& t, const Family& family) {
  const int computed = family.head_dim != 0 ? family.head_dim : t.hidden_size / t.num_heads;
  const int head_dim = IntOf(reader, "head_dim", computed, 2, kMaxHeadDim);
  if (head_dim < 2 || head_dim > kMaxHeadDim || head_dim % 2 != 0) {
    reader.Fail("head_dim", absl::StrCat("an even number from 2 to ", kMaxHeadDim,
                                         " (hidden_size / num_attention_heads where it is not "
                                         "given, here ",
                                         computed, ")"));
  }
  return head_dim;
}

void ReadHeads(JsonReader& reader, const Family& family, TextConfig& t) {
  t.num_heads = IntOf(reader, "num_attention_heads", 32, 1, kMaxHeads);
  const int kv_heads = family.num_kv_heads != 0 ? family.num_kv_heads : t.num_heads;
  t.num_kv_heads = IntOf(reader, "num_key_value_heads", kv_heads, 1, kMaxHeads);
  if (t.num_heads % t.num_kv_heads != 0) {
    reader.Fail("num_key_value_heads",
                absl::StrCat("a divisor of num_attention_heads ", t.num_heads));
  }
  if (family.head_dim == 0 && !reader.Has("head_dim") && t.hidden_size % t.num_heads != 0) {
    reader.Fail("hidden_size", absl::StrCat("a multiple of num_attention_heads ", t.num_heads));
  }
  t.head_dim = ReadHeadDim(reader, t, family);
}

// Llama's and Qwen3's attention_bias is of all four projections, Qwen2's biases are of three.
void ReadBiases(JsonReader& reader, const Family& family, TextConfig& t) {
  const bool all = family.may_have_attention_bias && reader.Bool("attention_bias", false);
  t.qkv_bias = family.qkv_bias || all;
  t.output_bias = all;
  t.mlp_bias = family.may_have_mlp_bias && reader.Bool("mlp_bias", false);
  t.qk_norm = family.qk_norm;
  t.fused = family.fused;
}

void ReadFirstAndEndTokens(JsonReader& reader, const Family& family, TextConfig& t) {
  t.bos_token_id = IntOf(reader, "bos_token_id", 1, 0, t.vocab_size - 1);
  std::vector<int> ends;
  if (family.end_token >= 0) ends.push_back(family.end_token);
  t.eos_token_ids = ReadEndTokens(reader, std::move(ends), t.vocab_size);
}

}  // namespace

std::string_view ContextBoundText(ContextBound bound) {
  switch (bound) {
    case ContextBound::kPositions:
      return "";
    case ContextBound::kDynamic:
      return "where its dynamic scaling begins, beyond which it is not computed";
    case ContextBound::kLongrope:
      return "what it was made for before longrope, beyond which it is not computed";
  }
  return "";
}

int WindowOf(const TextConfig& text) {
  return text.windows.empty() ? 0 : *std::max_element(text.windows.begin(), text.windows.end());
}

TextConfig ReadTextConfig(JsonReader reader, std::string model_type) {
  TextConfig t;
  t.model_type = std::move(model_type);
  const Family family = FamilyOf(reader, t.model_type);
  t.vocab_size = IntOf(reader, "vocab_size", family.vocab_size, 1, kMaxVocab);
  t.hidden_size = IntOf(reader, "hidden_size", family.hidden_size, 1, kMaxWidth);
  t.intermediate_size = IntOf(reader, "intermediate_size", family.intermediate_size, 1, kMaxInner);
  t.num_layers = IntOf(reader, "num_hidden_layers", 32, 1, kMaxLayers);
  ReadHeads(reader, family, t);
  const int unscaled =
      IntOf(reader, "max_position_embeddings", family.max_positions, 1, kMaxPositions);
  t.rms_norm_eps = reader.Double("rms_norm_eps", family.rms_norm_eps, 1e-12, 1);
  const bool is_phi3 = t.model_type == "phi3";
  t.rope = ReadRope(reader, {.positions = unscaled,
                             .original_positions = family.original_positions,
                             .head_dim = t.head_dim,
                             .may_be_partial = is_phi3,
                             .yarn_is_longrope = is_phi3});
  SetContext(reader, family, unscaled, t);
  t.tie_embeddings = reader.Bool("tie_word_embeddings", false);
  ReadBiases(reader, family, t);
  ReadFirstAndEndTokens(reader, family, t);
  t.hidden_act = ActivationOf(reader, "hidden_act", "silu");
  return t;
}

std::vector<int> ReadEndTokens(JsonReader& reader, std::vector<int> otherwise, int vocab_size) {
  constexpr int kMost = std::numeric_limits<int>::max();
  std::vector<int> ids = IntsOf(reader, "eos_token_id", std::move(otherwise), 0, kMost, kMaxEosIds);
  std::erase_if(ids, [vocab_size](int id) { return id >= vocab_size; });
  return ids;
}

}  // namespace llava::model
