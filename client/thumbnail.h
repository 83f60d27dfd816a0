// An image, small enough for a terminal.
#ifndef LLAVA_CLIENT_THUMBNAIL_H_
#define LLAVA_CLIENT_THUMBNAIL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace llava::client {

struct Thumbnail {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;  // [height, width, 3]

  const std::uint8_t* At(int x, int y) const {
    return &rgb[(static_cast<std::size_t>(y) * static_cast<std::size_t>(width) +
                 static_cast<std::size_t>(x)) *
                3];
  }
};

// Decodes a JPEG, PNG, WebP or BMP file and scales it down, keeping its proportions, until it fits.
// INVALID_ARGUMENT when it cannot be decoded.
absl::StatusOr<Thumbnail> MakeThumbnail(const std::string& file, int max_width, int max_height);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_THUMBNAIL_H_
