#include "model/config/text_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/attention_limits.h"
#include "model/config/config_fields.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxEosIds = 16;

// What transformers' configuration classes take where a file says nothing.
struct Family {
  std::string_view model_type;
  int vocab_size;
  int intermediate_size;
  int num_kv_heads;  // 0: as many as heads
  int head_dim;      // 0: hidden_size / num_attention_heads
  int max_positions;
  bool qkv_bias;         // always, whatever attention_bias says
  bool qk_norm;          // always
  int end_token;         // -1: none
  bool asks_for_window;  // sliding_window counts only with use_sliding_window
};
constexpr Family kFamilies[] = {
    {"llama", 32000, 11008, 0, 0, 2048, false, false, 2, false},
    {"mistral", 32000, 14336, 8, 0, 4096 * 32, false, false, 2, false},
    {"qwen2", 151936, 22016, 32, 0, 32768, true, false, -1, true},
    {"qwen3", 151936, 22016, 32, 128, 32768, false, true, -1, true},
};

Family FamilyOf(JsonReader& reader, std::string_view model_type) {
  for (const Family& family : kFamilies) {
    if (family.model_type == model_type) return family;
  }
  reader.Fail("model_type", "a supported language model (llama, mistral, qwen2, qwen3)");
  return kFamilies[0];
}

void ReadLlama3(JsonReader& reader, RopeConfig& rope) {
  rope.scaling = RopeConfig::Scaling::kLlama3;
  rope.low_freq_factor = reader.Double("low_freq_factor", 0, 1e-6, 1e6);
  rope.high_freq_factor = reader.Double("high_freq_factor", 0, 1e-6, 1e6);
  if (rope.low_freq_factor <= 0) reader.Fail("low_freq_factor", "a positive number");
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    reader.Fail("high_freq_factor", "a number above low_freq_factor");
  }
}

// modeling_rope_utils.py, _compute_yarn_parameters.
void ReadYarn(JsonReader& reader, RopeConfig& rope) {
  rope.scaling = RopeConfig::Scaling::kYarn;
  rope.beta_fast = reader.Double("beta_fast", 32, 1e-6, 1e6);
  rope.beta_slow = reader.Double("beta_slow", 1, 1e-6, 1e6);
  rope.truncate = reader.Bool("truncate", true);
  const auto scale = [&rope](double by) {
    return rope.factor <= 1 ? 1.0 : 0.1 * by * std::log(rope.factor) + 1.0;
  };
  const double one = reader.Double("mscale", 0, 0, 1e6);
  const double all = reader.Double("mscale_all_dim", 0, 0, 1e6);
  const double otherwise = one != 0 && all != 0 ? scale(one) / scale(all) : scale(1);
  rope.attention_factor = reader.Double("attention_factor", otherwise, 1e-6, 1e6);
}

void ReadRopeScaling(JsonReader reader, int max_positions, RopeConfig& rope) {
  const std::string_view key = reader.Has("rope_type") ? "rope_type" : "type";
  const std::string type = reader.String(key, "default");
  if (type == "default") return;
  rope.factor = reader.Double("factor", 1.0, 1.0, 1e6);
  rope.original_max_positions =
      IntOf(reader, "original_max_position_embeddings", max_positions, 1, kMaxPositions);
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::kLinear;
    rope.original_max_positions = max_positions;
  } else if (type == "dynamic") {
    rope.scaling = RopeConfig::Scaling::kDynamic;
  } else if (type == "llama3") {
    ReadLlama3(reader, rope);
  } else if (type == "yarn") {
    ReadYarn(reader, rope);
  } else {
    reader.Fail(key, "a supported scaling (default, linear, dynamic, llama3, yarn)");
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

// Whether some layer attends to no more than the last `sliding_window` tokens.
bool HasWindow(JsonReader& reader, const Family& family, int layers) {
  if (!family.asks_for_window) return true;
  return reader.Bool("use_sliding_window", false) &&
         IntOf(reader, "max_window_layers", 28, 0, kMaxLayers) < layers;
}

// Linear scaling makes the model see `factor` times the positions that its configuration counts
// (vLLM, _get_and_verify_max_len), and yarn as many times what it was made for. Dynamic scaling
// changes nothing up to what the configuration counts, and is used no further: beyond, the angles
// of a token would depend on how much was said after it. Within its window, sliding-window
// attention is full attention: the window is kept by allowing no longer context. Where the key is
// missing, it is 4096, but for Llama, which has none.
int MaxPositions(JsonReader& reader, bool has_window, bool is_llama, int unscaled,
                 const RopeConfig& rope) {
  double positions = unscaled;
  if (rope.scaling == RopeConfig::Scaling::kLinear) positions = unscaled * rope.factor;
  if (rope.scaling == RopeConfig::Scaling::kDynamic) {
    positions = std::min(unscaled, rope.original_max_positions);
  }
  if (rope.scaling == RopeConfig::Scaling::kYarn) {
    positions = std::max(positions, rope.original_max_positions * rope.factor);
  }
  const int bounded = static_cast<int>(std::min<double>(positions, kMaxPositions));
  if (!has_window) return bounded;
  const int no_window = is_llama || reader.Contains("sliding_window") ? kMaxPositions : 4096;
  return std::min(bounded, IntOf(reader, "sliding_window", no_window, 1, kMaxPositions));
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
  const bool all = !family.qkv_bias && reader.Bool("attention_bias", false);
  t.qkv_bias = family.qkv_bias || all;
  t.output_bias = all;
  t.mlp_bias = reader.Bool("mlp_bias", false);
  t.qk_norm = family.qk_norm;
}

void ReadEndTokens(JsonReader& reader, const Family& family, TextConfig& t) {
  t.bos_token_id = IntOf(reader, "bos_token_id", 1, 0, t.vocab_size - 1);
  std::vector<int> ends;
  if (family.end_token >= 0) ends.push_back(family.end_token);
  t.eos_token_ids = IntsOf(reader, "eos_token_id", ends, 0, t.vocab_size - 1, kMaxEosIds);
}

}  // namespace

TextConfig ReadTextConfig(JsonReader reader, std::string model_type) {
  TextConfig t;
  t.model_type = std::move(model_type);
  const Family family = FamilyOf(reader, t.model_type);
  t.vocab_size = IntOf(reader, "vocab_size", family.vocab_size, 1, kMaxVocab);
  t.hidden_size = IntOf(reader, "hidden_size", 4096, 1, kMaxWidth);
  t.intermediate_size = IntOf(reader, "intermediate_size", family.intermediate_size, 1, kMaxInner);
  t.num_layers = IntOf(reader, "num_hidden_layers", 32, 1, kMaxLayers);
  ReadHeads(reader, family, t);
  const int unscaled =
      IntOf(reader, "max_position_embeddings", family.max_positions, 1, kMaxPositions);
  t.rms_norm_eps = reader.Double("rms_norm_eps", 1e-6, 1e-12, 1);
  t.rope = ReadRope(reader, unscaled);
  t.max_positions = MaxPositions(reader, HasWindow(reader, family, t.num_layers),
                                 t.model_type == "llama", unscaled, t.rope);
  t.tie_embeddings = reader.Bool("tie_word_embeddings", false);
  ReadBiases(reader, family, t);
  ReadEndTokens(reader, family, t);
  if (reader.String("hidden_act", "silu") != "silu") reader.Fail("hidden_act", "silu");
  OnlyAbsent(reader, "quantization_config");
  return t;
}

}  // namespace llava::model
