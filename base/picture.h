// What prompts, training samples, requests and the model share of a picture: where it stands in a
// prompt, and what its bytes stand for.
#ifndef LLAVA_BASE_PICTURE_H_
#define LLAVA_BASE_PICTURE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace llava {

// The tokens [offset, offset + count) stand for the first `count` feature rows of image `image`:
// for all of them, but where truncation of a training sample cut through the image.
struct ImageSpan {
  std::int32_t offset = 0;
  std::int32_t count = 0;
  std::int32_t image = 0;

  friend bool operator==(const ImageSpan&, const ImageSpan&) = default;
};

// The rescaled and normalised value of each byte of a prepared picture, by channel: red, green,
// blue. Two pictures with equal bytes and equal tables are the same to a model.
using PixelTable = std::array<std::array<float, 256>, 3>;

inline constexpr std::size_t kPixelTableValues = sizeof(PixelTable) / sizeof(float);

// What the bytes [tiles, 3, plane] stand for, to as many `values`.
inline void LookUpPixels(std::span<const std::uint8_t> bytes, std::size_t plane,
                         const PixelTable& table, float* values) {
  for (std::size_t first = 0, c = 0; first < bytes.size(); first += plane, c = (c + 1) % 3) {
    const std::array<float, 256>& value_of = table[c];
    for (std::size_t i = first; i < first + plane; ++i) values[i] = value_of[bytes[i]];
  }
}

}  // namespace llava

#endif  // LLAVA_BASE_PICTURE_H_
