#include "model/config/vision_config.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/config/config_fields.h"

namespace llava::model {
namespace {

constexpr int kMaxImageSize = 8192;
constexpr int kMaxPatches = 1 << 16;

// One number, or transformers 5's list [height, width] of equal ones.
int SquareOf(JsonReader& reader, std::string_view key, int otherwise) {
  const auto sides = IntsOf(reader, key, {otherwise}, 1, kMaxImageSize, 2);
  if (sides.size() == 2 && sides[0] != sides[1]) reader.Fail(key, "equal height and width");
  return sides[0];
}

void CheckSizes(JsonReader& reader, const VisionConfig& v) {
  if (v.hidden_size % v.num_heads != 0) {
    reader.Fail("hidden_size", absl::StrCat("a multiple of num_attention_heads ", v.num_heads));
  }
  if (v.patch_size > v.image_size) {
    reader.Fail("patch_size", absl::StrCat("at most image_size ", v.image_size));
  } else if (v.patches() > kMaxPatches) {
    reader.Fail("patch_size",
                absl::StrCat("at most ", kMaxPatches, " patches in image_size ", v.image_size));
  }
}

}  // namespace

VisionConfig ReadVisionConfig(JsonReader reader) {
  VisionConfig v;
  const std::string type = reader.String("model_type", "clip_vision_model");
  const bool siglip = type == "siglip_vision_model";
  if (!siglip && type != "clip_vision_model") {
    reader.Fail("model_type", "a supported vision tower (clip_vision_model, siglip_vision_model)");
  }
  v.tower = siglip ? VisionConfig::Tower::kSiglip : VisionConfig::Tower::kClip;
  v.hidden_size = IntOf(reader, "hidden_size", 768, 1, kMaxWidth);
  v.intermediate_size = IntOf(reader, "intermediate_size", 3072, 1, kMaxInner);
  v.num_layers = IntOf(reader, "num_hidden_layers", 12, 1, kMaxLayers);
  v.num_heads = IntOf(reader, "num_attention_heads", 12, 1, kMaxHeads);
  v.image_size = SquareOf(reader, "image_size", 224);
  v.patch_size = SquareOf(reader, "patch_size", siglip ? 16 : 32);
  v.hidden_act = ActivationOf(reader, "hidden_act", siglip ? "gelu_pytorch_tanh" : "quick_gelu");
  v.layer_norm_eps = reader.Double("layer_norm_eps", siglip ? 1e-6 : 1e-5, 1e-12, 1);
  if (IntOf(reader, "num_channels", 3, 1, 1024) != 3) reader.Fail("num_channels", "3");
  CheckSizes(reader, v);
  return v;
}

VisionConfig DefaultClip() {
  return {.hidden_size = 1024,
          .intermediate_size = 4096,
          .num_layers = 24,
          .num_heads = 16,
          .image_size = 336,
          .patch_size = 14};
}

VisionConfig DefaultSiglip() {
  return {.tower = VisionConfig::Tower::kSiglip,
          .hidden_size = 1152,
          .intermediate_size = 4304,
          .num_layers = 26,
          .num_heads = 16,
          .image_size = 384,
          .patch_size = 14,
          .hidden_act = Activation::kGeluTanh,
          .layer_norm_eps = 1e-6};
}

absl::StatusOr<VisionConfig> ParseTowerConfig(std::string_view json, const std::string& file) {
  ASSIGN_OR_RETURN(const auto object, ParseJsonObject(json, file));
  JsonReader reader(file, object);
  const std::string type = reader.String("model_type", "clip");
  if (type != "clip" && type != "siglip" && !absl::EndsWith(type, "_vision_model")) {
    reader.Fail("model_type", "clip, clip_vision_model, siglip or siglip_vision_model");
  }
  VisionConfig vision;
  if (absl::EndsWith(type, "_vision_model")) {
    vision = ReadVisionConfig(reader);
  } else {
    if (!reader.Has("vision_config")) reader.Fail("vision_config", "an object");
    vision = ReadVisionConfig(reader.Object("vision_config"));
    // The outer type says which kind the parts are of, should they not say it themselves.
    if (type == "siglip" && vision.tower != VisionConfig::Tower::kSiglip) {
      reader.Fail("vision_config", "one of model_type siglip_vision_model");
    }
  }
  RETURN_IF_ERROR(reader.status());
  return vision;
}

}  // namespace llava::model
