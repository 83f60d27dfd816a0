#include "model/image/preprocess.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "model/image/resample.h"

namespace llava::model {
namespace {

constexpr int kMaxEdge = 16384;

// Lists of one number a channel, or one number for all of them.
std::array<double, 3> Channels(JsonReader& reader, std::string_view key,
                               const std::array<double, 3>& otherwise) {
  const boost::json::value* value = reader.Find(key);
  if (value == nullptr) return otherwise;
  std::array<double, 3> channels{};
  if (value->is_number()) {
    channels.fill(value->to_number<double>());
    return channels;
  }
  const boost::json::array* list = value->if_array();
  if (list == nullptr || list->size() != channels.size()) {
    reader.Fail(key, "a list of three numbers, or one for all of them");
    return otherwise;
  }
  for (std::size_t i = 0; i < channels.size(); ++i) {
    boost::system::error_code error;
    channels[i] = (*list)[i].to_number<double>(error);
    if (error.failed()) reader.Fail(key, "a list of three numbers");
  }
  return channels;
}

// Sizes are written as a number, or as {"shortest_edge": n}, or as {"height": h, "width": w}.
struct Size {
  int shortest_edge = 0;  // 0: height and width
  int height = 0;
  int width = 0;
};

Size ReadSize(JsonReader& reader, std::string_view key, const Size& otherwise) {
  const boost::json::value* value = reader.Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_number()) {
    const int edge = static_cast<int>(reader.Int(key, 1, 1, kMaxEdge));
    return {edge, edge, edge};
  }
  JsonReader size = reader.Object(key);
  if (!reader.status().ok()) return otherwise;
  if (size.Has("longest_edge") || size.Has("max_height") || size.Has("max_width")) {
    reader.Fail(key, "only shortest_edge, or height and width");
    return otherwise;
  }
  if (size.Has("shortest_edge")) {
    return {static_cast<int>(size.Int("shortest_edge", 1, 1, kMaxEdge)), 0, 0};
  }
  if (!size.Has("height") || !size.Has("width")) {
    reader.Fail(key, "shortest_edge, or height and width");
    return otherwise;
  }
  return {0, static_cast<int>(size.Int("height", 1, 1, kMaxEdge)),
          static_cast<int>(size.Int("width", 1, 1, kMaxEdge))};
}

// A square of the vision tower's size, however the file writes it.
void RequireImageSize(JsonReader& reader, std::string_view key, const Size& size, int image_size) {
  if (size.height == image_size && size.width == image_size) return;
  reader.Fail(key, absl::StrCat("the vision tower's size, ", image_size, " x ", image_size));
}

// The tiles are those of config.json: they decide how many tokens a picture has.
void ReadTiles(JsonReader& reader, const LlavaConfig& config, PreprocessSettings& settings) {
  constexpr std::string_view kPinpoints = "image_grid_pinpoints";
  const int side = settings.image_size;
  if (settings.shortest_edge != 0 && settings.shortest_edge != side) {
    reader.Fail("size", absl::StrCat("the vision tower's, ", side));
  }
  settings.shortest_edge = 0;
  // A picture that is read as a whole only.
  if (config.architecture == Architecture::kOnevision) settings.aspect = ImageAspect::kPad;
  const boost::json::value* value = reader.Find(kPinpoints);
  if (value == nullptr) return;
  boost::json::array ours;
  for (const Resolution& at : config.anyres.pinpoints) {
    ours.push_back(boost::json::array{at.height, at.width});
  }
  if (*value != ours) reader.Fail(kPinpoints, "the image_grid_pinpoints of config.json");
}

// What transformers' classes of image processors differ in where the file says nothing, by the name
// that the file has for its class. Without one it is the class of the model's type, whose means are
// CLIP's; where there is no file, or the original code's, they are the vision tower's.
struct Processor {
  bool pads = false;           // LlavaImageProcessor alone takes do_pad as to a square
  bool means_of_half = false;  // SiglipImageProcessor's
};

Processor ProcessorOf(JsonReader& reader, const LlavaConfig& config) {
  const std::string type = reader.String("image_processor_type", "");
  if (type.empty()) {
    const bool of_tower = config.layout == Layout::kOriginal || reader.file().empty();
    return {.pads = config.architecture == Architecture::kLlava,
            .means_of_half = of_tower && config.vision.tower == VisionConfig::Tower::kSiglip};
  }
  return {.pads = type.starts_with("LlavaImageProcessor"),
          .means_of_half = type.starts_with("Siglip")};
}

// `otherwise`: the size where the file has none. `tiles`: each is of the vision tower's size.
void ReadGeometry(JsonReader& reader, const Size& otherwise, bool tiles,
                  PreprocessSettings& settings) {
  const int image_size = settings.image_size;
  if (!reader.Bool("do_resize", true)) reader.Fail("do_resize", "true");
  const std::int64_t filter = reader.Int("resample", 3, 0, 5);
  settings.resample = static_cast<ResampleFilter>(filter);
  if (filter != 2 && filter != 3) reader.Fail("resample", "3 (bicubic) or 2 (bilinear)");

  const Size size = ReadSize(reader, "size", otherwise);
  settings.shortest_edge = size.shortest_edge;
  if (size.shortest_edge == 0) RequireImageSize(reader, "size", size, image_size);
  if (reader.Bool("do_center_crop", true)) {
    const Size crop = ReadSize(reader, "crop_size", {0, image_size, image_size});
    RequireImageSize(reader, "crop_size", crop, image_size);
  } else if (size.shortest_edge != 0 &&
             !tiles) {  // only a square image would have the tower's size then
    if (settings.aspect != ImageAspect::kPad || size.shortest_edge != image_size) {
      reader.Fail("do_center_crop", "true, or a size with height and width");
    }
  }
}

absl::StatusOr<PreprocessSettings> ReadSettings(JsonReader& reader, const LlavaConfig& config) {
  PreprocessSettings settings;
  settings.image_size = config.vision.image_size;
  settings.aspect = config.image_aspect;
  const Processor processor = ProcessorOf(reader, config);
  // With tiles, and for other classes, it is about pictures of a batch, which have one size here.
  const bool pad = reader.Bool("do_pad", false) && processor.pads && !config.has_tiles();
  if (pad) settings.aspect = ImageAspect::kPad;
  const int side = settings.image_size;
  const bool siglip = config.vision.tower == VisionConfig::Tower::kSiglip;
  if (processor.means_of_half) settings.mean = settings.std = {0.5, 0.5, 0.5};
  ReadGeometry(reader, siglip ? Size{0, side, side} : Size{side, 0, 0}, config.has_tiles(),
               settings);
  if (config.has_tiles()) ReadTiles(reader, config, settings);
  if (reader.Bool("do_rescale", true)) {
    settings.rescale_factor = reader.Double("rescale_factor", 1.0 / 255, 1e-9, 1e9);
  } else {
    settings.rescale_factor = 1.0;
  }
  settings.normalize = reader.Bool("do_normalize", true);
  settings.mean = Channels(reader, "image_mean", settings.mean);
  settings.std = Channels(reader, "image_std", settings.std);
  for (std::size_t i = 0; i < 3; ++i) {
    if (!(settings.mean[i] >= 0 && settings.mean[i] <= 1)) {
      reader.Fail("image_mean", "numbers from 0 to 1");
    }
    if (!(settings.std[i] > 0 && settings.std[i] <= 1e6)) {
      reader.Fail("image_std", "positive numbers");
    }
  }
  RETURN_IF_ERROR(reader.status());
  return settings;
}

absl::StatusOr<PreprocessSettings> ReadFile(const std::string& path, const LlavaConfig& config) {
  ASSIGN_OR_RETURN(const boost::json::object object, ReadJsonObject(path));
  JsonReader reader(path, object);
  return ReadSettings(reader, config);
}

// One axis of the window that transformers' center_crop cuts out, where the image is large
// enough; a smaller one is laid into zeros at `margin`.
struct Window {
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t margin = 0;
};

Window CenterWindow(std::int64_t resized, std::int64_t wanted) {
  if (resized >= wanted) return {(resized - wanted) / 2, wanted, 0};
  return {0, resized, (wanted - resized + 1) / 2};
}

std::string_view View(const void* data, std::size_t size) {
  return {static_cast<const char*>(data), size};
}

RgbImage LayIntoZeros(const RgbImage& image, int size, std::int64_t left, std::int64_t top) {
  RgbImage square{size, size, {}};
  square.pixels.resize(3 * static_cast<std::size_t>(size) * static_cast<std::size_t>(size));
  const std::ptrdiff_t row_bytes = 3 * static_cast<std::ptrdiff_t>(image.width);
  for (std::ptrdiff_t y = 0; y < image.height; ++y) {
    std::copy_n(image.pixels.begin() + y * row_bytes, row_bytes,
                square.pixels.begin() + 3 * ((top + y) * size + left));
  }
  return square;
}

}  // namespace

absl::StatusOr<PreprocessSettings> ReadPreprocessSettings(const std::string& dir,
                                                          const LlavaConfig& config) {
  constexpr std::string_view kFile = "/preprocessor_config.json";
  const std::string combined = dir + "/processor_config.json";
  auto object = ReadJsonObject(combined);
  if (!object.ok() && !absl::IsNotFound(object.status())) return object.status();
  if (object.ok()) {
    JsonReader reader(combined, *object);
    if (reader.Has("image_processor")) {
      JsonReader nested = reader.Object("image_processor");
      RETURN_IF_ERROR(reader.status());
      return ReadSettings(nested, config);
    }
  }
  auto settings = ReadFile(absl::StrCat(dir, std::string(kFile)), config);
  if (!absl::IsNotFound(settings.status())) return settings;
  if (!config.vision_tower_dir.empty()) {
    settings = ReadFile(config.vision_tower_dir + std::string(kFile), config);
    if (!absl::IsNotFound(settings.status())) return settings;
  }
  const boost::json::object empty;
  JsonReader defaults("", empty);
  return ReadSettings(defaults, config);
}

absl::StatusOr<PreprocessSettings> ParsePreprocessSettings(std::string_view json,
                                                           std::string_view file,
                                                           const LlavaConfig& config) {
  ASSIGN_OR_RETURN(const boost::json::object object, ParseJsonObject(json, file));
  JsonReader reader(std::string(file), object);
  return ReadSettings(reader, config);
}

std::vector<float> PixelValues::Floats() const {
  std::vector<float> values(bytes.size());
  const std::size_t plane = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  LookUpPixels(bytes, plane, *table, values.data());
  return values;
}

// In the order and the precision of transformers' rescale (double, then float) and normalize
// (float).
Preprocessor::Preprocessor(const PreprocessSettings& settings) : settings_(settings) {
  LLAVA_CHECK(settings.image_size > 0);
  auto table = std::make_shared<PixelTable>();
  for (std::size_t c = 0; c < 3; ++c) {
    const float mean = static_cast<float>(settings.mean[c]);
    const float std = static_cast<float>(settings.std[c]);
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const float scaled = static_cast<float>(static_cast<double>(byte) * settings.rescale_factor);
      (*table)[c][byte] = settings.normalize ? (scaled - mean) / std : scaled;
    }
  }
  table_ = std::move(table);
}

RgbImage Preprocessor::ResizeAndCrop(const RgbImage& image) const {
  const bool pad = settings_.aspect == ImageAspect::kPad;
  const std::int64_t longest = std::max(image.width, image.height);
  ResampleAxis horizontal{.canvas = pad ? longest : image.width, .image = image.width};
  ResampleAxis vertical{.canvas = pad ? longest : image.height, .image = image.height};
  const std::int64_t shortest = std::min(horizontal.canvas, vertical.canvas);
  std::array<Window, 2> windows;
  for (const int i : {0, 1}) {
    ResampleAxis& axis = i == 0 ? horizontal : vertical;
    axis.offset = (axis.canvas - axis.image) / 2;
    axis.resized = settings_.shortest_edge == 0 ? settings_.image_size
                                                : settings_.shortest_edge * axis.canvas / shortest;
    windows[i] = CenterWindow(axis.resized, settings_.image_size);
    axis.first = windows[i].first;
    axis.count = windows[i].count;
  }
  std::array<std::uint8_t, 3> mean{};
  for (std::size_t c = 0; c < 3; ++c) mean[c] = static_cast<std::uint8_t>(settings_.mean[c] * 255);
  RgbImage cropped = Resample(image, mean, horizontal, vertical, settings_.resample);
  if (cropped.width == settings_.image_size && cropped.height == settings_.image_size) {
    return cropped;
  }
  return LayIntoZeros(cropped, settings_.image_size, windows[0].margin, windows[1].margin);
}

void Preprocessor::AppendTile(const RgbImage& bytes, std::int64_t left, std::int64_t top,
                              std::vector<std::uint8_t>& tiles) const {
  const std::int64_t side = settings_.image_size;
  const std::size_t begin = tiles.size();
  tiles.resize(begin + 3 * static_cast<std::size_t>(side * side));  // with zeros, which are black
  const std::int64_t first_x = std::clamp<std::int64_t>(-left, 0, side);
  const std::int64_t last_x = std::clamp<std::int64_t>(bytes.width - left, first_x, side);
  for (std::size_t c = 0; c < 3; ++c) {
    std::uint8_t* out = tiles.data() + begin + c * static_cast<std::size_t>(side * side);
    for (std::int64_t y = 0; y < side; ++y, out += side) {
      if (top + y < 0 || top + y >= bytes.height) continue;
      const std::uint8_t* in = bytes.pixels.data() + 3 * (top + y) * bytes.width + c;
      for (std::int64_t x = first_x; x < last_x; ++x) out[x] = in[3 * (left + x)];
    }
  }
}

// The picture as a whole without regard to its shape, then the tiles of its canvas.
void Preprocessor::AppendTiles(const RgbImage& image, const ImageLayout& layout, Sha256& digest,
                               std::vector<std::uint8_t>& tiles) const {
  const std::int64_t side = settings_.image_size;
  const auto resized = [&](std::int64_t width, std::int64_t height) {
    const auto axis = [](std::int64_t from, std::int64_t to) {
      return ResampleAxis{.canvas = from, .image = from, .resized = to, .count = to};
    };
    return Resample(image, {}, axis(image.width, width), axis(image.height, height),
                    settings_.resample);
  };
  const RgbImage whole = resized(side, side);
  AppendTile(whole, 0, 0, tiles);
  const RgbImage fitted = resized(layout.resized.width, layout.resized.height);
  const std::int64_t left = (layout.grid.width * side - fitted.width) / 2;
  const std::int64_t top = (layout.grid.height * side - fitted.height) / 2;
  for (std::int64_t row = 0; row < layout.grid.height; ++row) {
    for (std::int64_t column = 0; column < layout.grid.width; ++column) {
      AppendTile(fitted, column * side - left, row * side - top, tiles);
    }
  }
  // The same pixels may be more or less of a larger picture.
  for (const Resolution& r : {layout.grid, layout.resized, layout.margin, layout.kept}) {
    digest.Update(View(&r, sizeof(r)));
  }
  digest.Update(View(whole.pixels.data(), whole.pixels.size()));
  digest.Update(View(fitted.pixels.data(), fitted.pixels.size()));
}

PixelValues Preprocessor::Process(const RgbImage& image, const ImageLayout& layout) const {
  PixelValues result;
  result.tiles = layout.tiles;
  result.height = result.width = settings_.image_size;
  const auto side = static_cast<std::size_t>(settings_.image_size);
  result.bytes.reserve(static_cast<std::size_t>(layout.tiles) * 3 * side * side);
  result.table = table_;
  // All that the vision tower's input depends on.
  Sha256 digest;
  digest.Update(View(table_->data(), sizeof(*table_)));
  if (layout.grid.height > 0) {
    AppendTiles(image, layout, digest, result.bytes);
  } else {
    const RgbImage bytes = ResizeAndCrop(image);
    AppendTile(bytes, 0, 0, result.bytes);
    digest.Update(View(&bytes.width, sizeof(bytes.width)));
    digest.Update(View(bytes.pixels.data(), bytes.pixels.size()));
  }
  result.digest = digest.Finish();
  return result;
}

}  // namespace llava::model
