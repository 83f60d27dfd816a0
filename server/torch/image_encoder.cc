#include "server/torch/image_encoder.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/picture.h"
#include "base/status_macros.h"
#include "model/config/image_layout.h"
#include "model/network/rows.h"

namespace llava::engine {
namespace {

using scheduling::EncodeImage;
using scheduling::EncodeSlice;
using scheduling::ImageInput;

// Of an image as it was prepared.
model::ImageLayout LayoutOf(const ImageInput& image, const model::LlavaConfig& config) {
  return model::LayoutOfTiles(
      config, {std::max(image.picture_width, 1), std::max(image.picture_height, 1)}, image.tiles);
}

// An error when the model would give it other tokens.
absl::Status CheckLayout(const ImageInput& image, const model::LlavaConfig& config) {
  const int side = config.vision.image_size;
  const model::ImageLayout layout = LayoutOf(image, config);
  const std::size_t values = std::size_t{3} * image.tiles * image.height * image.width;
  if (image.height == side && image.width == side && image.tiles == layout.tiles &&
      image.count == layout.tokens && image.pixels_CHW.size() == values &&
      image.pixel_table != nullptr) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat("a picture was prepared as ", image.tiles, " tiles of ",
                                          image.width, "x", image.height, " pixels and ",
                                          image.count, " tokens; the model takes ", layout.tiles,
                                          " of ", side, " and gives ", layout.tokens));
}

// A batch of tiles fills a GPU. On a CPU one tile does, and LibTorch's attention and convolution
// give a tile other bits in a batch than alone: there its bits must not depend on its company.
at::Tensor FeaturesOf(const at::Tensor& pixels, const model::Llava& llava) {
  if (!pixels.is_cpu() || pixels.size(0) == 1) return llava.EncodeImages(pixels);
  std::vector<at::Tensor> tiles_BIE;
  for (const at::Tensor& tile : pixels.split(1)) tiles_BIE.push_back(llava.EncodeImages(tile));
  return at::cat(tiles_BIE);
}

bool HasWholeTiles(const EncodeImage& encode) {
  return encode.slice.first_part == 0 && encode.slice.parts == encode.slice.of;
}

}  // namespace

int ImageEncoder::Parts(const model::Llava& llava) {
  return static_cast<int>(llava.vision_tower().blocks()) + 1;
}

absl::Status ImageEncoder::Encode(std::span<const EncodeImage> encodes, const model::Llava& llava,
                                  const RunTiles& run) {
  for (const EncodeImage& encode : encodes) {
    RETURN_IF_ERROR(CheckLayout(*encode.image, llava.config()));
  }
  while (!encodes.empty()) {
    if (HasWholeTiles(encodes.front())) {
      encodes = EncodeTiles(encodes, llava, run);
    } else {
      EncodeParts(encodes.front(), llava);
      encodes = encodes.subspan(1);
    }
  }
  return absl::OkStatus();
}

at::Tensor ImageEncoder::PixelsOf(std::span<const EncodeImage> encodes,
                                  const model::VisionTower& tower) {
  const ImageInput& first = *encodes.front().image;  // the others are as large
  const std::int64_t tile = std::int64_t{3} * first.height * first.width;
  std::int64_t tiles = 0;
  for (const EncodeImage& encode : encodes) tiles += encode.slice.tiles;
  pixels_.Begin();
  constexpr auto kValues = static_cast<std::int64_t>(kPixelTableValues);
  const auto [tables, table_room] = pixels_.Add<float>(tiles * kValues);
  auto table = table_room.begin();
  for (const EncodeImage& encode : encodes) {
    for (int tile_number = 0; tile_number < encode.slice.tiles; ++tile_number) {
      for (const auto& channel : *encode.image->pixel_table) {
        table = std::copy(channel.begin(), channel.end(), table);
      }
    }
  }
  const auto [bytes, room] = pixels_.Add<std::uint8_t>(tiles * tile);
  auto place = room.begin();
  for (const EncodeImage& encode : encodes) {
    const auto pixels = encode.image->pixels_CHW.begin() + encode.slice.first_tile * tile;
    place = std::copy_n(pixels, encode.slice.tiles * tile, place);
  }
  pixels_.Send();
  return model::PixelRows(pixels_.Get(bytes).view({tiles, 3, first.height, first.width}),
                          pixels_.Get(tables).view({tiles, 3, -1}), tower.dtype());
}

std::span<const EncodeImage> ImageEncoder::EncodeTiles(std::span<const EncodeImage> encodes,
                                                       const model::Llava& llava,
                                                       const RunTiles& run) {
  const auto end = std::find_if_not(encodes.begin(), encodes.end(), HasWholeTiles);
  const auto batch = encodes.first(static_cast<std::size_t>(end - encodes.begin()));
  const Features features = [&llava](const at::Tensor& pixels) {
    return FeaturesOf(pixels, llava);
  };
  const at::Tensor pixels = PixelsOf(batch, llava.vision_tower());
  const at::Tensor features_BIE = run ? run(pixels, features) : features(pixels);
  std::int64_t first = 0;
  for (const EncodeImage& encode : batch) {
    AddTiles(encode, features_BIE.narrow(0, first, encode.slice.tiles), llava);
    first += encode.slice.tiles;
  }
  return encodes.subspan(batch.size());
}

// One tile, through some of its parts. The plan may count in other parts than this model has.
void ImageEncoder::EncodeParts(const EncodeImage& encode, const model::Llava& llava) {
  const EncodeSlice& slice = encode.slice;
  const model::VisionTower& tower = llava.vision_tower();
  model::VisionTower::Pass& pass = unfinished_[encode.feature].pass;
  if (slice.first_part == 0) pass = tower.Begin(PixelsOf({&encode, 1}, tower));
  const int until = Parts(llava) * (slice.first_part + slice.parts) / slice.of;
  tower.Run(std::min<std::int64_t>(until, tower.blocks()), &pass);
  if (slice.first_part + slice.parts < slice.of) return;
  const at::Tensor tile_BIE = llava.projector().Forward(tower.Features(std::exchange(pass, {})));
  AddTiles(encode, tile_BIE, llava);
}

void ImageEncoder::AddTiles(const EncodeImage& encode, at::Tensor tiles_BIE,
                            const model::Llava& llava) {
  std::vector<at::Tensor>& tiles = unfinished_[encode.feature].tiles_BIE;
  const bool is_last = encode.is_last();
  // What waits for the next step keeps no batch of others in memory.
  tiles.push_back(is_last ? std::move(tiles_BIE) : tiles_BIE.clone());
  if (!is_last) return;
  const at::Tensor all_BIE = tiles.size() == 1 ? tiles.front() : at::cat(tiles);
  // A copy of its own, so that dropping one image of a batch frees its memory.
  features_[encode.feature] = llava.PackImage(all_BIE, LayoutOf(*encode.image, llava.config()))
                                  .to(llava.dtype(), /*non_blocking=*/false, /*copy=*/true);
  unfinished_.erase(encode.feature);
}

void ImageEncoder::Drop(std::span<const scheduling::FeatureId> features) {
  for (const scheduling::FeatureId feature : features) {
    features_.erase(feature);
    unfinished_.erase(feature);
  }
}

}  // namespace llava::engine
