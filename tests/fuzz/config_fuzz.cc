// Any text as config.json, and as preprocessor_config.json: an error, or settings that can be
// written and read again. Behind a zero byte comes the vision tower's config.json.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/config/config.h"
#include "model/image/preprocess.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace model = llava::model;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = text.find('\0');
  const std::string_view vision = end == std::string_view::npos ? "" : text.substr(end + 1);
  const auto config = model::ParseConfig(text.substr(0, end), vision);
  if (config.ok()) {
    (void)config->FeatureLayerIndices();
    (void)config->projector_input_size();
    if (config->image_token_id >= 0) {
      LLAVA_CHECK(model::ParseConfig(model::ConfigJson(*config), "").ok());
    }
  }
  model::LlavaConfig other;
  other.vision.image_size = 98;
  const auto settings = model::ParsePreprocessSettings(text, "preprocessor_config.json", other);
  if (settings.ok()) model::Preprocessor{*settings}.Process({1, 2, {1, 2, 3, 4, 5, 6}});
  return 0;
}
