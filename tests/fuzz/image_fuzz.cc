// Any bytes as an image: an error, or an image of the size that its header says.
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "model/image/image.h"
#include "model/image/preprocess.h"

namespace {

// Rights the check sums of a PNG, which chance never finds, so that decoding gets beyond them.
std::string WithCheckSums(std::string bytes) {
  constexpr std::size_t kAround = 12;  // length, type and check sum of a chunk
  std::size_t at = 8;
  while (bytes.compare(0, 4, "\x89PNG") == 0 && bytes.size() >= kAround &&
         at <= bytes.size() - kAround) {
    const auto* chunk = reinterpret_cast<const Bytef*>(bytes.data()) + at;
    const std::size_t length = std::size_t{chunk[0]} << 24 | std::size_t{chunk[1]} << 16 |
                               std::size_t{chunk[2]} << 8 | chunk[3];
    if (length > bytes.size() - at - kAround) break;
    const auto sum = crc32_z(0, chunk + 4, length + 4);
    for (std::size_t i = 0; i < 4; ++i) {
      bytes[at + 8 + length + i] = static_cast<char>(sum >> (24 - 8 * i));
    }
    at += kAround + length;
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace model = llava::model;
  const std::string bytes = WithCheckSums({reinterpret_cast<const char*>(data), size});
  const model::ImageLimits limits{.max_bytes = 1 << 20, .max_pixels = 1 << 18};
  const auto header = model::ProbeImage(bytes);
  const auto image = model::DecodeImage(bytes, limits);
  if (!image.ok()) {
    LLAVA_CHECK(image.status().code() == absl::StatusCode::kInvalidArgument);
    return 0;
  }
  LLAVA_CHECK(header.ok());
  LLAVA_CHECK_LE(header->pixels(), limits.max_pixels);
  const bool turned = header->orientation >= 5;
  LLAVA_CHECK_EQ(image->width, turned ? header->height : header->width);
  LLAVA_CHECK_EQ(image->height, turned ? header->width : header->height);
  LLAVA_CHECK_EQ(image->pixels.size(), 3 * static_cast<std::size_t>(header->pixels()));
  model::PreprocessSettings settings;
  settings.image_size = settings.shortest_edge = 14;
  settings.aspect = size % 2 == 0 ? model::ImageAspect::kCrop : model::ImageAspect::kPad;
  LLAVA_CHECK_EQ(model::Preprocessor(settings).Process(*image).bytes.size(), 3u * 14 * 14);
  return 0;
}
