#include "training/assemble/processor_files.h"

#include <boost/json.hpp>

#include "base/durable_file.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

namespace json = boost::json;

bool IsSiglip(const model::LlavaConfig& config) {
  return config.vision.tower == model::VisionConfig::Tower::kSiglip;
}

const char* ProcessorType(const model::LlavaConfig& config, bool pads) {
  if (pads) return "LlavaImageProcessor";
  return IsSiglip(config) ? "SiglipImageProcessor" : "CLIPImageProcessor";
}

std::string PreprocessorJson(const model::LlavaConfig& config,
                             const model::PreprocessSettings& settings) {
  const bool pads = settings.aspect == model::ImageAspect::kPad;
  const int side = settings.image_size;
  json::object size = {{"height", side}, {"width", side}};
  if (settings.shortest_edge != 0) size = {{"shortest_edge", settings.shortest_edge}};
  json::object object = {{"image_processor_type", ProcessorType(config, pads)},
                         {"processor_class", "LlavaProcessor"},
                         {"do_convert_rgb", true},
                         {"do_pad", pads},
                         {"do_resize", true},
                         {"size", size},
                         {"resample", 3},
                         {"do_center_crop", settings.shortest_edge != 0},
                         {"crop_size", {{"height", side}, {"width", side}}},
                         {"do_rescale", settings.rescale_factor != 1.0},
                         {"rescale_factor", settings.rescale_factor},
                         {"do_normalize", settings.normalize},
                         {"image_mean", json::array(settings.mean.begin(), settings.mean.end())},
                         {"image_std", json::array(settings.std.begin(), settings.std.end())}};
  return json::serialize(object) + "\n";
}

std::string ProcessorJson(const model::LlavaConfig& config) {
  const bool drop = config.select == model::SelectStrategy::kDropClassToken;
  return json::serialize(
             json::value{{"processor_class", "LlavaProcessor"},
                         {"image_token", "<image>"},
                         {"patch_size", config.vision.patch_size},
                         {"num_additional_image_tokens", IsSiglip(config) ? 0 : 1},
                         {"vision_feature_select_strategy", drop ? "default" : "full"}}) +
         "\n";
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
