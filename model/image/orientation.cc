#include "model/image/orientation.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/byte_reader.h"
#include "base/check.h"

namespace llava::model {
namespace {

constexpr std::string_view kExifPrefix("Exif\0\0", 6);
constexpr std::uint32_t kOrientationTag = 0x0112;

// Where the pixel of the upright image at (x, y) is stored: a start and a step for each
// direction.
struct Walk {
  std::ptrdiff_t start;
  std::ptrdiff_t step_x;
  std::ptrdiff_t step_y;
};

Walk WalkOf(int orientation, std::ptrdiff_t width, std::ptrdiff_t height) {
  const std::ptrdiff_t right = width - 1;
  const std::ptrdiff_t bottom = (height - 1) * width;
  switch (orientation) {
    case 2:  // mirrored left to right
      return {right, -1, width};
    case 3:  // upside down
      return {bottom + right, -1, -width};
    case 4:  // mirrored top to bottom
      return {bottom, 1, -width};
    case 5:  // transposed
      return {0, width, 1};
    case 6:  // to be turned by 90 degrees clockwise
      return {bottom, -width, 1};
    case 7:  // transposed along the other diagonal
      return {bottom + right, -width, -1};
    case 8:  // to be turned by 90 degrees counter-clockwise
      return {right, width, -1};
    default:
      return {0, 1, width};
  }
}

}  // namespace

int ExifOrientation(std::string_view exif) {
  while (exif.substr(0, kExifPrefix.size()) == kExifPrefix) exif.remove_prefix(kExifPrefix.size());
  const std::string_view mark = exif.substr(0, 2);
  if (mark != "II" && mark != "MM") return 0;
  ByteReader reader(exif, mark == "II" ? ByteReader::Order::kLittle : ByteReader::Order::kBig);
  reader.Skip(2);
  if (reader.U16() != 42) return 0;
  reader.Seek(reader.U32());
  const std::uint32_t entries = reader.U16();
  for (std::uint32_t i = 0; i < entries && reader.ok(); ++i) {
    const std::uint32_t tag = reader.U16();
    const std::uint32_t type = reader.U16();
    const std::uint32_t count = reader.U32();
    const std::string_view value = reader.Take(4);
    if (tag != kOrientationTag || !reader.ok()) continue;
    constexpr std::uint32_t kShort = 3;
    constexpr std::uint32_t kLong = 4;
    if (count != 1 || (type != kShort && type != kLong)) return 0;
    ByteReader field(value, mark == "II" ? ByteReader::Order::kLittle : ByteReader::Order::kBig);
    return static_cast<int>(type == kShort ? field.U16() : field.U32());
  }
  return 0;
}

int XmpOrientation(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (std::size_t at = xmp.find(kName); at != std::string_view::npos;
       at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    if (rest.substr(0, 2) == "=\"") {
      rest.remove_prefix(2);
    } else if (rest.substr(0, 1) == ">") {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return 0;
}

int CombineOrientations(std::string_view exif, std::string_view xmp) {
  int orientation = ExifOrientation(exif);
  if (orientation == 0) orientation = XmpOrientation(xmp);
  return orientation >= 1 && orientation <= 8 ? orientation : 1;
}

RgbImage ApplyOrientation(RgbImage image, int orientation) {
  LLAVA_CHECK(orientation >= 1 && orientation <= 8);
  if (orientation == 1) return image;
  const Walk walk = WalkOf(orientation, image.width, image.height);
  RgbImage upright{image.width, image.height, std::vector<std::uint8_t>(image.pixels.size())};
  if (orientation >= 5) std::swap(upright.width, upright.height);
  std::uint8_t* out = upright.pixels.data();
  for (std::ptrdiff_t y = 0; y < upright.height; ++y) {
    const std::ptrdiff_t row = walk.start + y * walk.step_y;
    for (std::ptrdiff_t x = 0; x < upright.width; ++x, out += 3) {
      std::memcpy(out, image.pixels.data() + 3 * (row + x * walk.step_x), 3);
    }
  }
  return upright;
}

}  // namespace llava::model
