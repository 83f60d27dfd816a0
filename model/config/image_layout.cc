#include "model/config/image_layout.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/check.h"

namespace llava::model {
namespace {

// transformers, image_processing_utils.py, select_best_resolution: the most pixels of the picture,
// and among equals the least waste.
Resolution BestResolution(const std::vector<Resolution>& pinpoints, const ImageSize& size) {
  const double width = size.width;
  const double height = size.height;
  const std::int64_t pixels = std::int64_t{size.width} * size.height;
  Resolution best;
  std::int64_t most = 0;
  std::int64_t least_waste = std::numeric_limits<std::int64_t>::max();
  for (const Resolution& at : pinpoints) {
    const double scale = std::min(at.width / width, at.height / height);
    const auto fitted =
        static_cast<std::int64_t>(width * scale) * static_cast<std::int64_t>(height * scale);
    const std::int64_t effective = std::min(fitted, pixels);
    const std::int64_t waste = std::int64_t{at.width} * at.height - effective;
    if (effective > most || (effective == most && waste < least_waste)) {
      best = at;
      most = effective;
      least_waste = waste;
    }
  }
  return best;
}

// image_transforms of the same, get_patch_output_size.
Resolution FittedInto(const Resolution& canvas, const ImageSize& size) {
  const double by_width = static_cast<double>(canvas.width) / size.width;
  const double by_height = static_cast<double>(canvas.height) / size.height;
  if (by_width < by_height) {
    const int height = static_cast<int>(std::ceil(size.height * by_width));
    return {std::min(height, canvas.height), canvas.width};
  }
  const int width = static_cast<int>(std::ceil(size.width * by_height));
  return {canvas.height, std::min(width, canvas.width)};
}

// Python's int(round(x, 7)) of a product of small numbers.
int Rounded(double x) { return static_cast<int>(std::nearbyint(x * 1e7) / 1e7); }

// modeling_llava_next.py, unpad_image.
void Unpad(const Resolution& features, const ImageSize& size, ImageLayout& layout) {
  const double picture = static_cast<double>(size.width) / size.height;
  const double canvas = static_cast<double>(features.width) / features.height;
  layout.margin = {};
  if (picture > canvas) {
    const double scale = static_cast<double>(features.width) / size.width;
    layout.margin.height = (features.height - Rounded(size.height * scale)) / 2;
  } else {
    const double scale = static_cast<double>(features.height) / size.height;
    layout.margin.width = (features.width - Rounded(size.width * scale)) / 2;
  }
  layout.kept = {features.height - 2 * layout.margin.height,
                 features.width - 2 * layout.margin.width};
}

// modeling_llava_onevision.py, pack_image_features.
Resolution Reduced(const Resolution& kept, int max_tiles, int side) {
  if (max_tiles == 0) return kept;
  const double tile = static_cast<double>(side) * side;
  const double ratio =
      std::sqrt(static_cast<double>(kept.height) * kept.width / (max_tiles * tile));
  if (ratio <= 1.1) return kept;
  // Python's n // ratio, which is below floor(n / ratio) where that division rounds up to a whole.
  const auto shrunk = [ratio](int n) {
    const double quotient = (n - std::fmod(n, ratio)) / ratio;
    return static_cast<int>(std::floor(quotient + 0.5));
  };
  return {shrunk(kept.height), shrunk(kept.width)};
}

}  // namespace

ImageLayout LayoutOf(const LlavaConfig& config, const ImageSize& size, int images) {
  LLAVA_CHECK(size.width > 0 && size.height > 0);
  ImageLayout layout{.tiles = 1, .tokens = config.tile_tokens()};
  if (!config.has_tiles()) return layout;
  if (config.architecture == Architecture::kOnevision && images > 1) {
    layout.row_ends = true;
    ++layout.tokens;
    return layout;
  }
  const int side = config.vision.image_size;
  const int patches = config.vision.patches_per_side();
  const Resolution canvas = BestResolution(config.anyres.pinpoints, size);
  layout.grid = {canvas.height / side, canvas.width / side};
  layout.resized = FittedInto(canvas, size);
  Unpad({layout.grid.height * patches, layout.grid.width * patches}, size, layout);
  layout.reduced = Reduced(layout.kept, config.anyres.max_tiles, patches);
  layout.tiles += layout.grid.height * layout.grid.width;
  layout.tokens += layout.reduced.height * (layout.reduced.width + 1);
  return layout;
}

ImageLayout LayoutOfTiles(const LlavaConfig& config, const ImageSize& size, int tiles) {
  return LayoutOf(config, size, tiles > 1 ? 1 : 2);
}

}  // namespace llava::model
