// Pictures of random bytes, as if they had been prepared.
#ifndef LLAVA_TESTS_SUPPORT_PREPARED_PIXELS_H_
#define LLAVA_TESTS_SUPPORT_PREPARED_PIXELS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "server/scheduling/request.h"

namespace llava::test {

// Bytes for the image's tiles, height and width, and a table of values from about -2 to 2, which
// differ from channel to channel and from seed to seed.
inline void FillPixels(scheduling::ImageInput& image, std::uint64_t seed) {
  Rng rng(seed);
  image.pixels_CHW.resize(std::size_t{3} * static_cast<std::size_t>(image.tiles) *
                          static_cast<std::size_t>(image.height) *
                          static_cast<std::size_t>(image.width));
  for (std::uint8_t& byte : image.pixels_CHW) byte = static_cast<std::uint8_t>(rng.Next());
  auto table = std::make_shared<PixelTable>();
  for (std::size_t c = 0; c < table->size(); ++c) {
    const auto mean = static_cast<float>(120 + 5 * c + seed % 10);
    for (std::size_t byte = 0; byte < 256; ++byte) {
      (*table)[c][byte] = (static_cast<float>(byte) - mean) / 60;
    }
  }
  image.pixel_table = std::move(table);
}

// What the bytes stand for, [tiles, 3, height, width].
inline std::vector<float> ValuesOf(const scheduling::ImageInput& image) {
  const std::size_t plane =
      static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width);
  std::vector<float> values;
  for (const std::uint8_t byte : image.pixels_CHW) {
    values.push_back((*image.pixel_table)[values.size() / plane % 3][byte]);
  }
  return values;
}

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_PREPARED_PIXELS_H_
