// The writing half of model/config/config.h: Hugging Face configurations from our own.
#include <cmath>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "boost/json/object.hpp"
#include "boost/json/serialize.hpp"
#include "model/config/config.h"

namespace llava::model {
namespace {

boost::json::string Name(Activation activation) {
  const std::string_view name = ActivationName(activation);
  return boost::json::string(name.data(), name.size());
}

boost::json::value Ids(const std::vector<int>& ids) {
  if (ids.size() == 1) return ids.front();
  return boost::json::array(ids.begin(), ids.end());
}

boost::json::object Vision(const VisionConfig& v) {
  const bool siglip = v.tower == VisionConfig::Tower::kSiglip;
  return {{"model_type", siglip ? "siglip_vision_model" : "clip_vision_model"},
          {"hidden_size", v.hidden_size},
          {"intermediate_size", v.intermediate_size},
          {"num_hidden_layers", v.num_layers},
          {"num_attention_heads", v.num_heads},
          {"num_channels", 3},
          {"image_size", v.image_size},
          {"patch_size", v.patch_size},
          {"hidden_act", Name(v.hidden_act)},
          {"layer_norm_eps", v.layer_norm_eps}};
}

boost::json::value RopeScaling(const RopeConfig& rope) {
  switch (rope.scaling) {
    case RopeConfig::Scaling::kNone:
      return nullptr;
    case RopeConfig::Scaling::kLinear:
      return boost::json::object{{"rope_type", "linear"}, {"factor", rope.factor}};
    case RopeConfig::Scaling::kDynamic:
      return boost::json::object{{"rope_type", "dynamic"},
                                 {"factor", rope.factor},
                                 {"original_max_position_embeddings", rope.original_max_positions}};
    case RopeConfig::Scaling::kYarn:
      return boost::json::object{{"rope_type", "yarn"},
                                 {"factor", rope.factor},
                                 {"attention_factor", rope.attention_factor},
                                 {"beta_fast", rope.beta_fast},
                                 {"beta_slow", rope.beta_slow},
                                 {"truncate", rope.truncate},
                                 {"original_max_position_embeddings", rope.original_max_positions}};
    case RopeConfig::Scaling::kLongrope:
      return boost::json::object{
          {"rope_type", "longrope"},
          {"factor", rope.factor},
          {"attention_factor", rope.attention_factor},
          {"short_factor",
           boost::json::array(rope.short_factors.begin(), rope.short_factors.end())},
          {"long_factor", boost::json::array(rope.long_factors.begin(), rope.long_factors.end())},
          {"original_max_position_embeddings", rope.original_max_positions}};
    case RopeConfig::Scaling::kLlama3:
      return boost::json::object{{"rope_type", "llama3"},
                                 {"factor", rope.factor},
                                 {"low_freq_factor", rope.low_freq_factor},
                                 {"high_freq_factor", rope.high_freq_factor},
                                 {"original_max_position_embeddings", rope.original_max_positions}};
  }
  LLAVA_CHECK(false);
  return nullptr;
}

// Readers multiply it by the factor of linear scaling.
int UnscaledPositions(const TextConfig& t) {
  const bool linear = t.rope.scaling == RopeConfig::Scaling::kLinear;
  return linear ? t.rope.original_max_positions : t.max_positions;
}

// Without the key, some families have a window of 4096.
void PutWindow(const TextConfig& t, boost::json::object& out) {
  if (t.model_type != "llama") out["sliding_window"] = nullptr;
  if (t.windows.empty()) return;
  out["sliding_window"] = WindowOf(t);
  if (!t.model_type.starts_with("qwen")) return;
  out["use_sliding_window"] = true;
  boost::json::array types;
  for (const int window : t.windows) {
    types.emplace_back(window != 0 ? "sliding_attention" : "full_attention");
  }
  out["layer_types"] = std::move(types);
}

boost::json::object Text(const LlavaConfig& config) {
  const TextConfig& t = config.text;
  boost::json::object out{{"model_type", t.model_type},
                          {"vocab_size", t.vocab_size},
                          {"hidden_size", t.hidden_size},
                          {"intermediate_size", t.intermediate_size},
                          {"num_hidden_layers", t.num_layers},
                          {"num_attention_heads", t.num_heads},
                          {"num_key_value_heads", t.num_kv_heads},
                          {"head_dim", t.head_dim},
                          {"hidden_act", Name(t.hidden_act)},
                          {"max_position_embeddings", UnscaledPositions(t)},
                          {"rms_norm_eps", t.rms_norm_eps},
                          {"rope_theta", t.rope.theta},
                          {"rope_scaling", RopeScaling(t.rope)},
                          {"attention_bias", t.qkv_bias},
                          {"mlp_bias", t.mlp_bias},
                          {"tie_word_embeddings", t.tie_embeddings},
                          {"bos_token_id", t.bos_token_id},
                          {"eos_token_id", Ids(t.eos_token_ids)},
                          {"pad_token_id", config.pad_token_id}};
  PutWindow(t, out);
  if (t.rope.rotated != 0) {
    // A little more: readers round head_dim times it down.
    const double part = static_cast<double>(t.rope.rotated) / t.head_dim;
    out["partial_rotary_factor"] = std::nextafter(part, 1.0);
  }
  if (t.rope.scaling == RopeConfig::Scaling::kLongrope) {
    out["original_max_position_embeddings"] = t.rope.original_max_positions;
  }
  if (!config.base_model.empty()) out["_name_or_path"] = config.base_model;
  return out;
}

const char* ClassOf(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlava:
      return "LlavaForConditionalGeneration";
    case Architecture::kVipLlava:
      return "VipLlavaForConditionalGeneration";
    case Architecture::kLlavaNext:
      return "LlavaNextForConditionalGeneration";
    case Architecture::kOnevision:
      return "LlavaOnevisionForConditionalGeneration";
  }
  LLAVA_CHECK(false);
  return "";
}

// What one architecture has and others do not.
void PutArchitecture(const LlavaConfig& config, boost::json::object& out) {
  if (config.architecture == Architecture::kVipLlava) {
    out["vision_feature_layers"] = Ids(config.feature_layers);
    out["projector_layernorm_eps"] = config.projector.input_norm_eps;
    out.erase("vision_feature_layer");
    out.erase("vision_feature_select_strategy");
  }
  if (!config.has_tiles()) return;
  boost::json::array pinpoints;
  for (const Resolution& at : config.anyres.pinpoints) {
    pinpoints.push_back(boost::json::array{at.height, at.width});
  }
  out["image_grid_pinpoints"] = std::move(pinpoints);
  if (config.architecture == Architecture::kOnevision) {
    out["vision_aspect_ratio"] = absl::StrCat("anyres_max_", config.anyres.max_tiles);
  }
}

absl::Status WriteText(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text << "\n";
  out.close();
  if (!out) return absl::DataLossError(absl::StrCat(path.string(), ": cannot be written"));
  return absl::OkStatus();
}

}  // namespace

std::string ConfigJson(const LlavaConfig& config) {
  LLAVA_CHECK_GE(config.image_token_id, 0);
  const bool drop = config.select == SelectStrategy::kDropClassToken;
  const std::string_view type = ModelType(config.architecture);
  boost::json::object out{{"architectures", {ClassOf(config.architecture)}},
                          {"model_type", boost::json::string(type.data(), type.size())},
                          {"image_token_index", config.image_token_id},
                          {"image_seq_length", config.tile_tokens()},
                          {"ignore_index", -100},
                          {"pad_token_id", config.pad_token_id},
                          {"projector_hidden_act", Name(config.projector.activation)},
                          {"multimodal_projector_bias", config.projector.bias},
                          {"tie_word_embeddings", config.text.tie_embeddings},
                          {"vision_feature_layer", Ids(config.feature_layers)},
                          {"vision_feature_select_strategy", drop ? "default" : "full"},
                          {"text_config", Text(config)},
                          {"vision_config", Vision(config.vision)}};
  if (!config.dtype.empty()) out["torch_dtype"] = config.dtype;
  if (config.quantization != Quantization::kNone) {
    out[kQuantizationKey] = {{"quant_method", kQuantizationMethod},
                             {"format", QuantizationName(config.quantization)}};
  }
  PutArchitecture(config, out);
  if (config.projector.depth == 1) out["mm_projector_type"] = "linear";
  if (config.projector.depth > 2) {
    out["mm_projector_type"] = absl::StrCat("mlp", config.projector.depth, "x_gelu");
  }
  return boost::json::serialize(out);
}

absl::Status WriteConfig(const LlavaConfig& config, const std::string& dir) {
  const boost::json::object generation{{"bos_token_id", config.text.bos_token_id},
                                       {"eos_token_id", Ids(config.text.eos_token_ids)},
                                       {"pad_token_id", config.pad_token_id}};
  const std::filesystem::path folder(dir);
  const absl::Status status = WriteText(folder / "config.json", ConfigJson(config));
  if (!status.ok()) return status;
  return WriteText(folder / "generation_config.json", boost::json::serialize(generation));
}

}  // namespace llava::model
