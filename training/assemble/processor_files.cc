#include "training/assemble/processor_files.h"

#include <boost/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

namespace json = boost::json;

bool IsSiglip(const model::LlavaConfig& config) {
  return config.vision.tower == model::VisionConfig::Tower::kSiglip;
}

bool IsNext(const model::LlavaConfig& config) {
  return config.architecture == model::Architecture::kLlavaNext;
}

const char* ProcessorType(const model::LlavaConfig& config, bool pads) {
  if (IsNext(config)) return "LlavaNextImageProcessor";
  if (config.has_tiles()) return "LlavaOnevisionImageProcessor";
  if (pads) return "LlavaImageProcessor";
  return IsSiglip(config) ? "SiglipImageProcessor" : "CLIPImageProcessor";
}

const char* ProcessorClass(const model::LlavaConfig& config) {
  if (IsNext(config)) return "LlavaNextProcessor";
  return config.has_tiles() ? "LlavaOnevisionProcessor" : "LlavaProcessor";
}

std::string PreprocessorJson(const model::LlavaConfig& config,
                             const model::PreprocessSettings& settings) {
  const bool pads = config.has_tiles() || settings.aspect == model::ImageAspect::kPad;
  const int side = settings.image_size;
  // LLaVA-1.6's processor, which crops no tile, takes its size by this name.
  const int shortest_edge = IsNext(config) ? side : settings.shortest_edge;
  json::object size = {{"height", side}, {"width", side}};
  if (shortest_edge != 0) size = {{"shortest_edge", shortest_edge}};
  json::object object = {{"image_processor_type", ProcessorType(config, pads)},
                         {"processor_class", ProcessorClass(config)},
                         {"do_convert_rgb", true},
                         {"do_pad", pads},
                         {"do_resize", true},
                         {"size", size},
                         {"resample", static_cast<int>(settings.resample)},
                         {"do_center_crop", shortest_edge != 0},
                         {"crop_size", {{"height", side}, {"width", side}}},
                         {"do_rescale", settings.rescale_factor != 1.0},
                         {"rescale_factor", settings.rescale_factor},
                         {"do_normalize", settings.normalize},
                         {"image_mean", json::array(settings.mean.begin(), settings.mean.end())},
                         {"image_std", json::array(settings.std.begin(), settings.std.end())}};
  if (config.has_tiles()) {
    json::array pinpoints;
    for (const model::Resolution& at : config.anyres.pinpoints) {
      pinpoints.push_back(json::array{at.height, at.width});
    }
    object["image_grid_pinpoints"] = std::move(pinpoints);
  }
  return json::serialize(object) + "\n";
}

std::string ProcessorJson(const model::LlavaConfig& config) {
  const bool drop = config.select == model::SelectStrategy::kDropClassToken;
  json::object object = {{"processor_class", ProcessorClass(config)},
                         {"image_token", "<image>"},
                         {"vision_feature_select_strategy", drop ? "default" : "full"}};
  if (config.architecture == model::Architecture::kOnevision) {
    object["num_image_tokens"] = config.tile_tokens();
    object["vision_aspect_ratio"] = absl::StrCat("anyres_max_", config.anyres.max_tiles);
  } else {
    object["patch_size"] = config.vision.patch_size;
    object["num_additional_image_tokens"] = IsSiglip(config) ? 0 : 1;
  }
  return json::serialize(object) + "\n";
}

}  // namespace

absl::Status WritePreprocessorFile(const model::LlavaConfig& config,
                                   const model::PreprocessSettings& settings,
                                   const std::string& folder) {
  return WriteFile(folder + "/preprocessor_config.json", PreprocessorJson(config, settings));
}

absl::Status WriteProcessorFiles(const model::LlavaConfig& config,
                                 const model::PreprocessSettings& settings,
                                 const std::string& folder) {
  RETURN_IF_ERROR(WritePreprocessorFile(config, settings, folder));
  return WriteFile(folder + "/processor_config.json", ProcessorJson(config));
}

}  // namespace llava::training
