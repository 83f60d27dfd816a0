#include "client/image.h"

#include <zlib.h>

#include <array>
#include <cstdint>
#include <vector>

#include "base/check.h"

namespace llava::client {
namespace {

using Color = std::array<std::uint8_t, 3>;
constexpr int kRectangles = 12;

std::string BigEndian(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

// PNG specification, section 5.3: length, type, data, CRC of type and data.
std::string Chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const uLong crc =
      crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return BigEndian(static_cast<std::uint32_t>(data.size())) + body +
         BigEndian(static_cast<std::uint32_t>(crc));
}

std::string Deflate(const std::vector<std::uint8_t>& rows) {
  uLongf size = compressBound(rows.size());
  std::string out(size, '\0');
  LLAVA_CHECK_EQ(
      compress2(reinterpret_cast<Bytef*>(out.data()), &size, rows.data(), rows.size(), 1), Z_OK);
  out.resize(size);
  return out;
}

}  // namespace

std::string DrawImage(int side, Rng* rng) {
  const std::size_t stride = static_cast<std::size_t>(side) * 3 + 1;  // a filter byte first
  std::vector<std::uint8_t> rows(stride * static_cast<std::size_t>(side), 0);
  for (int i = 0; i < kRectangles; ++i) {
    const Color color = {static_cast<std::uint8_t>(rng->Below(256)),
                         static_cast<std::uint8_t>(rng->Below(256)),
                         static_cast<std::uint8_t>(rng->Below(256))};
    const auto left = i == 0 ? 0 : rng->Between(0, side - 1);
    const auto top = i == 0 ? 0 : rng->Between(0, side - 1);
    const auto right = i == 0 ? side : rng->Between(left, side);
    const auto bottom = i == 0 ? side : rng->Between(top, side);
    for (auto y = top; y < bottom; ++y) {
      for (auto x = left; x < right; ++x) {
        std::uint8_t* pixel =
            &rows[static_cast<std::size_t>(y) * stride + 1 + static_cast<std::size_t>(x) * 3];
        for (std::size_t c = 0; c < 3; ++c) pixel[c] = color[c];
      }
    }
  }
  const std::string size = BigEndian(static_cast<std::uint32_t>(side));
  const std::string header = size + size + std::string("\x08\x02\x00\x00\x00", 5);
  return "\x89PNG\r\n\x1a\n" + Chunk("IHDR", header) + Chunk("IDAT", Deflate(rows)) +
         Chunk("IEND", "");
}

}  // namespace llava::client
