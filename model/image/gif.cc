#include <gif_lib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "base/status_macros.h"
#include "model/image/formats.h"

namespace llava::model {
namespace {

constexpr std::size_t kSignatureBytes = 6;
constexpr std::uint32_t kExtension = 0x21, kImage = 0x2C;
constexpr int kGraphicsControl = 0xF9;
constexpr std::uint32_t kHasColours = 0x80, kColourBits = 0x07;

absl::Status Truncated() { return ImageError(ImageFormat::kGif, "truncated"); }

void SkipColours(std::uint32_t flags, ByteReader& reader) {
  if ((flags & kHasColours) != 0) reader.Skip(std::uint64_t{3} << ((flags & kColourBits) + 1));
}

// Passes over extensions up to the first image. False: there is none.
bool FindImage(ByteReader& reader) {
  while (reader.remaining() > 0) {
    const std::uint32_t block = reader.U8();
    if (block == kImage) return true;
    if (block != kExtension) return false;
    reader.Skip(1);  // its kind
    for (std::uint32_t size = reader.U8(); size > 0 && reader.ok(); size = reader.U8()) {
      reader.Skip(size);
    }
  }
  return false;
}

// What giflib reads from.
struct Source {
  std::string_view rest;
  DecodeBudget* budget;
};

int ReadSome(GifFileType* gif, GifByteType* out, int size) {
  auto* source = static_cast<Source*>(gif->UserData);
  if (source->budget->IsSpent()) return 0;  // a row may take any number of codes that clear
  if (source->rest.empty() && size == 1) {  // of a file without its last bytes: no block follows
    *out = 0;
    return 1;
  }
  const std::size_t count = std::min(static_cast<std::size_t>(size), source->rest.size());
  std::memcpy(out, source->rest.data(), count);
  source->rest.remove_prefix(count);
  return static_cast<int>(count);
}

struct Close {
  void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};
using Gif = std::unique_ptr<GifFileType, Close>;

absl::Status Fault(const GifFileType& gif) {
  if (gif.Error == D_GIF_ERR_READ_FAILED || gif.Error == D_GIF_ERR_EOF_TOO_SOON) {
    return Truncated();
  }
  const char* text = GifErrorString(gif.Error);
  return ImageError(ImageFormat::kGif, text == nullptr ? "it is corrupt" : text);
}

// The index of the transparent colour, when the extension is the one that has it.
void ReadTransparency(int kind, const GifByteType* extension, std::optional<int>& transparent) {
  GraphicsControlBlock control;
  if (kind != kGraphicsControl || extension == nullptr ||
      DGifExtensionToGCB(extension[0], extension + 1, &control) != GIF_OK) {
    return;
  }
  if (control.TransparentColor != NO_TRANSPARENT_COLOR) transparent = control.TransparentColor;
}

// Reads up to the first image's descriptor.
absl::Status ReadToImage(GifFileType& gif, std::optional<int>& transparent) {
  for (;;) {
    GifRecordType record = UNDEFINED_RECORD_TYPE;
    if (DGifGetRecordType(&gif, &record) != GIF_OK) return Fault(gif);
    if (record == IMAGE_DESC_RECORD_TYPE) {
      return DGifGetImageDesc(&gif) == GIF_OK ? absl::OkStatus() : Fault(gif);
    }
    if (record != EXTENSION_RECORD_TYPE) {
      return ImageError(ImageFormat::kGif, "it has no picture");
    }
    int kind = 0;
    GifByteType* extension = nullptr;
    if (DGifGetExtension(&gif, &kind, &extension) != GIF_OK) return Fault(gif);
    while (extension != nullptr) {
      ReadTransparency(kind, extension, transparent);
      if (DGifGetExtensionNext(&gif, &extension) != GIF_OK) return Fault(gif);
    }
  }
}

// The colours of indices, as Pillow has them: black beyond the table, grey levels without one.
struct Colours {
  std::uint8_t rgb[256][3];
};

// Pillow passes over a table in which every index is its own grey level.
bool IsGreyRamp(const ColorMapObject& map) {
  for (int i = 0; i < map.ColorCount; ++i) {
    const GifColorType& c = map.Colors[i];
    if (c.Red != i || c.Green != i || c.Blue != i) return false;
  }
  return true;
}

// The frame's own table, else the file's, else none.
const ColorMapObject* TableOf(const GifFileType& gif) {
  for (const ColorMapObject* map : {gif.Image.ColorMap, gif.SColorMap}) {
    if (map != nullptr && !IsGreyRamp(*map)) return map;
  }
  return nullptr;
}

Colours ColoursOf(const GifFileType& gif) {
  const ColorMapObject* map = TableOf(gif);
  Colours colours{};
  for (int i = 0; i < 256; ++i) {
    std::uint8_t* rgb = colours.rgb[i];
    if (map == nullptr) {
      rgb[0] = rgb[1] = rgb[2] = static_cast<std::uint8_t>(i);
    } else if (i < map->ColorCount) {
      const GifColorType& c = map->Colors[i];
      rgb[0] = c.Red;
      rgb[1] = c.Green;
      rgb[2] = c.Blue;
    }
  }
  return colours;
}

void Put(const Colours& colours, const std::vector<GifPixelType>& row, std::uint8_t* out) {
  for (const GifPixelType index : row) {
    std::copy_n(colours.rgb[index], 3, out);
    out += 3;
  }
}

// The rows of the frame in the order in which they are stored.
std::vector<int> RowOrder(int height, bool interlaced) {
  std::vector<int> order;
  if (!interlaced) {
    for (int y = 0; y < height; ++y) order.push_back(y);
    return order;
  }
  constexpr int kPasses[4][2] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};  // first row, step
  for (const auto& [first, step] : kPasses) {
    for (int y = first; y < height; y += step) order.push_back(y);
  }
  return order;
}

}  // namespace

// As in Pillow, the canvas grows where the first frame does not fit on it.
absl::StatusOr<ImageHeader> ProbeGif(std::string_view bytes) {
  ByteReader reader(bytes, ByteReader::Order::kLittle);
  reader.Skip(kSignatureBytes);
  std::uint32_t width = reader.U16();
  std::uint32_t height = reader.U16();
  const std::uint32_t flags = reader.U8();
  reader.Skip(2);  // background colour, aspect
  SkipColours(flags, reader);
  if (!reader.ok()) return Truncated();
  if (!FindImage(reader)) {
    return reader.ok() ? ImageError(ImageFormat::kGif, "it has no picture") : Truncated();
  }
  const std::uint32_t left = reader.U16();
  const std::uint32_t top = reader.U16();
  const std::uint32_t frame_width = reader.U16();
  const std::uint32_t frame_height = reader.U16();
  if (!reader.ok()) return Truncated();
  width = std::max(width, left + frame_width);
  height = std::max(height, top + frame_height);
  if (frame_width == 0 || frame_height == 0) {
    return ImageError(ImageFormat::kGif,
                      absl::StrCat("its first frame is ", frame_width, " x ", frame_height));
  }
  return ImageHeader{.format = ImageFormat::kGif,
                     .width = static_cast<int>(width),
                     .height = static_cast<int>(height),
                     .channels = 1};
}

absl::StatusOr<RgbImage> DecodeGif(std::string_view bytes, const ImageHeader& header,
                                   DecodeBudget& budget) {
  Source source{bytes, &budget};
  int error = 0;
  const Gif gif(DGifOpen(&source, ReadSome, &error));
  if (gif == nullptr) return ImageError(ImageFormat::kGif, "its header is wrong");
  std::optional<int> transparent;
  RETURN_IF_ERROR(ReadToImage(*gif, transparent));
  const GifImageDesc& frame = gif->Image;
  if (frame.Left + frame.Width > header.width || frame.Top + frame.Height > header.height) {
    return ImageError(ImageFormat::kGif, "its picture differs from its header");
  }
  const Colours colours = ColoursOf(*gif);
  RgbImage image{header.width, header.height, {}};
  const std::size_t row_bytes = 3 * static_cast<std::size_t>(header.width);
  image.pixels.resize(row_bytes * static_cast<std::size_t>(header.height));
  const std::vector<GifPixelType> ground(static_cast<std::size_t>(header.width),
                                         static_cast<GifPixelType>(transparent.value_or(0)));
  for (int y = 0; y < header.height; ++y) {
    Put(colours, ground, image.pixels.data() + static_cast<std::size_t>(y) * row_bytes);
  }
  std::vector<GifPixelType> row(static_cast<std::size_t>(frame.Width));
  for (const int y : RowOrder(frame.Height, frame.Interlace)) {
    if (budget.IsSpent()) return ImageError(ImageFormat::kGif, kTooSlow);
    if (DGifGetLine(gif.get(), row.data(), frame.Width) != GIF_OK) return Fault(*gif);
    Put(colours, row,
        image.pixels.data() + static_cast<std::size_t>(frame.Top + y) * row_bytes +
            3 * static_cast<std::size_t>(frame.Left));
  }
  return image;
}

}  // namespace llava::model
