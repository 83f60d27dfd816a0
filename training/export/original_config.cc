#include "training/export/original_config.h"

#include <boost/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

namespace json = boost::json;

using model::LlavaConfig;

// The parts of Hugging Face's configuration, which have the same keys in both layouts.
json::object PartOf(const LlavaConfig& config, const char* part) {
  LlavaConfig all = config;
  all.image_token_id = 0;  // of no account here
  return json::parse(model::ConfigJson(all)).at(part).as_object();
}

// What the original has a setting for, but our decoder or tower is not.
std::string Foreign(const LlavaConfig& config) {
  const model::TextConfig& text = config.text;
  if (config.architecture != model::Architecture::kLlava || config.has_tiles()) {
    const std::string_view type = model::ModelType(config.architecture);
    return absl::StrCat("model_type \"", AbslView(type), "\"");
  }
  if (text.model_type != "llama" && text.model_type != "mistral") {
    return absl::StrCat("a decoder of model_type \"", text.model_type, "\"");
  }
  if (text.qkv_bias || text.output_bias || text.mlp_bias) return "a decoder with biases";
  if (text.head_dim * text.num_heads != text.hidden_size) {
    return absl::StrCat("heads of ", text.head_dim, " dimensions where hidden_size is ",
                        text.hidden_size, " and num_attention_heads ", text.num_heads);
  }
  const bool scaled = text.rope.scaling != model::RopeConfig::Scaling::kNone &&
                      text.rope.scaling != model::RopeConfig::Scaling::kLinear;
  if (scaled || text.rope.rotated != 0) return "this scaling of rotary positions";
  if (config.vision.tower != model::VisionConfig::Tower::kClip) {
    return "a vision tower that is no CLIP";
  }
  if (config.feature_layers.size() != 1) return "several feature layers";
  if (!config.projector.bias || config.projector.input_norm) {
    return "a projector without biases, or with a norm";
  }
  return "";
}

json::value RopeScaling(const model::RopeConfig& rope) {
  if (rope.scaling == model::RopeConfig::Scaling::kNone) return nullptr;
  // These two keys and no other.
  return json::object{{"type", "linear"}, {"factor", rope.factor}};
}

std::string ProjectorType(int depth) {
  return depth == 1 ? "linear" : absl::StrCat("mlp", depth, "x_gelu");
}

}  // namespace

absl::Status CheckOriginalHas(const LlavaConfig& config) {
  if (config.layout != model::Layout::kHuggingFace) {
    return absl::InvalidArgumentError(
        "is in the original layout already, expected a Hugging Face checkpoint");
  }
  if (config.quantization != model::Quantization::kNone) {
    return absl::InvalidArgumentError(absl::StrCat("the weights are ",
                                                   model::QuantizationName(config.quantization),
                                                   ", expected those that they were made from"));
  }
  const std::string foreign = Foreign(config);
  if (foreign.empty()) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("the original code does not have ", foreign));
}

std::string OriginalConfigJson(const LlavaConfig& config) {
  const bool mistral = config.text.model_type == "mistral";
  const bool drop = config.select == model::SelectStrategy::kDropClassToken;
  json::object out = PartOf(config, "text_config");
  out["architectures"] = json::array{mistral ? "LlavaMistralForCausalLM" : "LlavaLlamaForCausalLM"};
  out["model_type"] = mistral ? "llava_mistral" : "llava_llama";
  out["rope_scaling"] = RopeScaling(config.text.rope);
  out["use_cache"] = true;
  if (!config.dtype.empty()) out["torch_dtype"] = config.dtype;
  out["mm_vision_tower"] = config.vision_tower;
  out["mm_hidden_size"] = config.vision.hidden_size;
  out["mm_projector_type"] = ProjectorType(config.projector.depth);
  out["mm_vision_select_layer"] = config.feature_layers.front();
  out["mm_vision_select_feature"] = drop ? "patch" : "cls_patch";
  out["mm_patch_merge_type"] = "flat";
  out["mm_resampler_type"] = nullptr;
  out["mm_projector_lr"] = nullptr;
  out["use_mm_proj"] = true;
  for (const char* key :
       {"mm_use_im_start_end", "mm_use_im_patch_token", "tune_mm_mlp_adapter",
        "freeze_mm_mlp_adapter", "tune_mm_vision_resampler", "unfreeze_mm_vision_tower"}) {
    out[key] = false;
  }
  const bool pads = config.image_aspect == model::ImageAspect::kPad;
  out["image_aspect_ratio"] = pads ? "pad" : "square";
  out["image_grid_pinpoints"] = nullptr;
  out["tokenizer_padding_side"] = "right";
  out["tokenizer_model_max_length"] = config.text.max_positions;
  return json::serialize(out) + "\n";
}

std::string GenerationConfigJson(const LlavaConfig& config) {
  const model::TextConfig& text = config.text;
  json::value eos = json::array(text.eos_token_ids.begin(), text.eos_token_ids.end());
  if (text.eos_token_ids.size() == 1) eos = text.eos_token_ids.front();
  return json::serialize(json::object{{"bos_token_id", text.bos_token_id},
                                      {"eos_token_id", eos},
                                      {"pad_token_id", config.pad_token_id}}) +
         "\n";
}

std::string TowerConfigJson(const LlavaConfig& config) {
  json::object out = PartOf(config, "vision_config");
  out["architectures"] = json::array{"CLIPVisionModel"};
  if (!config.dtype.empty()) out["torch_dtype"] = config.dtype;
  return json::serialize(out) + "\n";
}

}  // namespace llava::training
