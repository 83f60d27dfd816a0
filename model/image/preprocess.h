// From an RGB image to the vision tower's input, as CLIP's image processor of transformers does
// it with Pillow (CLIPImageProcessorPil): resize, centre crop, rescale, normalise; and before that,
// for checkpoints of the original LLaVA, padding to a square with the mean colour. Pictures in
// tiles as LlavaNextImageProcessorPil and LlavaOnevisionImageProcessorPil make them.
#ifndef LLAVA_MODEL_IMAGE_PREPROCESS_H_
#define LLAVA_MODEL_IMAGE_PREPROCESS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/picture.h"
#include "model/config/config.h"
#include "model/config/image_layout.h"
#include "model/image/image.h"
#include "model/image/resample.h"

namespace llava::model {

struct PreprocessSettings {
  int image_size = 336;  // the result is image_size x image_size
  ImageAspect aspect = ImageAspect::kCrop;
  // The resized image's shortest edge, whatever its shape; 0: it is made image_size x image_size
  // without regard to its shape.
  int shortest_edge = 336;
  ResampleFilter resample = ResampleFilter::kBicubic;
  double rescale_factor = 1.0 / 255;  // 1: pixels stay in 0..255
  std::array<double, 3> mean{0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std{0.26862954, 0.26130258, 0.27577711};
  bool normalize = true;

  bool operator==(const PreprocessSettings&) const = default;
};

// From the "image_processor" of `dir`/processor_config.json (where transformers 5 writes it, and
// looks first), or `dir`/preprocessor_config.json, or that of the original layout's CLIP directory,
// or CLIP's defaults for the vision tower's size. INVALID_ARGUMENT names the file and the key that
// cannot be honoured, or that does not fit the vision tower.
absl::StatusOr<PreprocessSettings> ReadPreprocessSettings(const std::string& dir,
                                                          const LlavaConfig& config);

// The same from the text of the file; `file` only names it in errors.
absl::StatusOr<PreprocessSettings> ParsePreprocessSettings(std::string_view json,
                                                           std::string_view file,
                                                           const LlavaConfig& config);

// The vision tower's input for one image, a byte for each value: every way here ends in bytes, as
// Pillow's does, and what rescaling and normalising make of a byte is in `table`.
struct PixelValues {
  std::vector<std::uint8_t> bytes;          // [tiles, 3, height, width], RGB
  std::shared_ptr<const PixelTable> table;  // the preprocessor's; never null
  int tiles = 1;
  int height = 0;
  int width = 0;
  // Names the values: equal digests mean equal values, and the same image with the same settings
  // has the same digest, whatever file it came from.
  Digest digest;

  // table[c][byte] of every byte, as the vision tower takes them: [tiles, 3, height, width].
  std::vector<float> Floats() const;
};

// Immutable: any thread. About 40 ms for 12 megapixels (tests/bench/bench_preprocess).
class Preprocessor {
 public:
  explicit Preprocessor(const PreprocessSettings& settings);

  const PreprocessSettings& settings() const { return settings_; }

  // `layout`: LayoutOf of the configuration and the image's size. The digest names it too.
  // REQUIRES: an image that DecodeImage returned (not empty, no side above kMaxImageSide).
  PixelValues Process(const RgbImage& image, const ImageLayout& layout) const;

  // The same of a layout of one tile.
  PixelValues Process(const RgbImage& image) const { return Process(image, {.tiles = 1}); }

  // The bytes of one tile before rescaling and normalising: RGB, image_size x image_size.
  RgbImage ResizeAndCrop(const RgbImage& image) const;

 private:
  // Appends one tile's bytes: the image_size x image_size pixels of `bytes` from (left, top) on,
  // which may be negative; black where there are none.
  void AppendTile(const RgbImage& bytes, std::int64_t left, std::int64_t top,
                  std::vector<std::uint8_t>& tiles) const;
  void AppendTiles(const RgbImage& image, const ImageLayout& layout, Sha256& digest,
                   std::vector<std::uint8_t>& tiles) const;

  PreprocessSettings settings_;
  std::shared_ptr<const PixelTable> table_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_IMAGE_PREPROCESS_H_
