#include "client/thumbnail.h"

#include <webp/decode.h>

#include <algorithm>
#include <memory>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_BMP
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_MAX_DIMENSIONS 32768
#include <stb/stb_image.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::client {
namespace {

constexpr std::int64_t kMaxPixels = 100'000'000;

using Pixels = std::unique_ptr<std::uint8_t, void (*)(void*)>;

struct Image {
  int width = 0;
  int height = 0;
  Pixels rgb{nullptr, nullptr};
};

absl::StatusOr<Image> Decode(const std::string& file) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(file.data());
  const int size = static_cast<int>(std::min<std::size_t>(file.size(), 1 << 30));
  Image image;
  int channels = 0;
  const bool webp = WebPGetInfo(data, file.size(), &image.width, &image.height) != 0;
  if (!webp && stbi_info_from_memory(data, size, &image.width, &image.height, &channels) == 0) {
    return absl::InvalidArgumentError("not a JPEG, PNG, WebP or BMP picture");
  }
  if (std::int64_t{image.width} * image.height > kMaxPixels) {
    return absl::InvalidArgumentError(
        absl::StrCat(image.width, " x ", image.height, " pixels are too many to show"));
  }
  if (webp) {
    image.rgb = Pixels(WebPDecodeRGB(data, file.size(), nullptr, nullptr), WebPFree);
  } else {
    image.rgb = Pixels(stbi_load_from_memory(data, size, &image.width, &image.height, &channels,
                                             /*desired_channels=*/3),
                       stbi_image_free);
  }
  if (image.rgb == nullptr) return absl::InvalidArgumentError("the picture is damaged");
  return image;
}

// The mean of the pixels that come to lie on one.
void Average(const Image& image, int x, int y, Thumbnail* out) {
  const auto span = [](int i, int from, int to) {
    const auto begin = static_cast<int>(std::int64_t{i} * from / to);
    return std::pair(begin, std::max(begin + 1, static_cast<int>(std::int64_t{i + 1} * from / to)));
  };
  const auto [left, right] = span(x, image.width, out->width);
  const auto [top, bottom] = span(y, image.height, out->height);
  std::int64_t sums[3] = {};
  for (int row = top; row < bottom; ++row) {
    const std::uint8_t* pixel = image.rgb.get() + (std::int64_t{row} * image.width + left) * 3;
    for (int i = 0; i < (right - left) * 3; ++i) sums[i % 3] += pixel[i];
  }
  const std::int64_t count = std::int64_t{right - left} * (bottom - top);
  for (const std::int64_t sum : sums) out->rgb.push_back(static_cast<std::uint8_t>(sum / count));
}

}  // namespace

absl::StatusOr<Thumbnail> MakeThumbnail(const std::string& file, int max_width, int max_height) {
  ASSIGN_OR_RETURN(const Image image, Decode(file));
  const double scale = std::min({1.0, static_cast<double>(max_width) / image.width,
                                 static_cast<double>(max_height) / image.height});
  Thumbnail out;
  out.width = std::max(1, static_cast<int>(image.width * scale));
  out.height = std::max(1, static_cast<int>(image.height * scale));
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) Average(image, x, y, &out);
  }
  return out;
}

}  // namespace llava::client
