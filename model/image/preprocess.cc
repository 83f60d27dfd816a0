#include "model/image/preprocess.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
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
  const boost::json::array* list = value->if_array();
  if (list == nullptr || list->size() != channels.size()) {
    reader.Fail(key, "a list of three numbers");
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

void ReadGeometry(JsonReader& reader, PreprocessSettings& settings) {
  const int image_size = settings.image_size;
  if (!reader.Bool("do_resize", true)) reader.Fail("do_resize", "true");
  constexpr std::int64_t kBicubic = 3;  // PIL.Image.Resampling
  if (reader.Int("resample", kBicubic, 0, 5) != kBicubic) reader.Fail("resample", "3 (bicubic)");
  if (reader.Bool("do_pad", false)) settings.aspect = ImageAspect::kPad;

  const Size size = ReadSize(reader, "size", {image_size, 0, 0});
  settings.shortest_edge = size.shortest_edge;
  if (size.shortest_edge == 0) RequireImageSize(reader, "size", size, image_size);
  if (reader.Bool("do_center_crop", true)) {
    const Size crop = ReadSize(reader, "crop_size", {0, image_size, image_size});
    RequireImageSize(reader, "crop_size", crop, image_size);
  } else if (size.shortest_edge != 0) {  // only a square image would have the tower's size then
    if (settings.aspect != ImageAspect::kPad || size.shortest_edge != image_size) {
      reader.Fail("do_center_crop", "true, or a size with height and width");
    }
  }
}

absl::StatusOr<PreprocessSettings> ReadSettings(JsonReader& reader, const LlavaConfig& config) {
  PreprocessSettings settings;
  settings.image_size = config.vision.image_size;
  settings.aspect = config.image_aspect;
  ReadGeometry(reader, settings);
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
  auto settings = ReadFile(absl::StrCat(dir, std::string(kFile)), config);
  if (!absl::IsNotFound(settings.status())) return settings;
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

// In the order and the precision of transformers' rescale (double, then float) and normalize
// (float).
Preprocessor::Preprocessor(const PreprocessSettings& settings) : settings_(settings) {
  LLAVA_CHECK(settings.image_size > 0);
  for (std::size_t c = 0; c < 3; ++c) {
    const float mean = static_cast<float>(settings.mean[c]);
    const float std = static_cast<float>(settings.std[c]);
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const float scaled = static_cast<float>(static_cast<double>(byte) * settings.rescale_factor);
      value_of_[c][byte] = settings.normalize ? (scaled - mean) / std : scaled;
    }
  }
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
  RgbImage cropped = Resample(image, mean, horizontal, vertical);
  if (cropped.width == settings_.image_size && cropped.height == settings_.image_size) {
    return cropped;
  }
  return LayIntoZeros(cropped, settings_.image_size, windows[0].margin, windows[1].margin);
}

PixelValues Preprocessor::Process(const RgbImage& image) const {
  const RgbImage bytes = ResizeAndCrop(image);
  PixelValues result;
  result.height = bytes.height;
  result.width = bytes.width;
  const std::size_t pixels = bytes.pixels.size() / 3;
  result.values.resize(bytes.pixels.size());
  for (std::size_t c = 0; c < 3; ++c) {
    float* out = result.values.data() + c * pixels;
    for (std::size_t i = 0; i < pixels; ++i) out[i] = value_of_[c][bytes.pixels[3 * i + c]];
  }
  // The bytes and the value of each byte are all that the values depend on.
  const auto view = [](const auto& data, std::size_t size) {
    return std::string_view(reinterpret_cast<const char*>(data), size);
  };
  result.digest = Sha256()
                      .Update(view(value_of_.data(), sizeof(value_of_)))
                      .Update(view(&bytes.width, sizeof(bytes.width)))
                      .Update(view(bytes.pixels.data(), bytes.pixels.size()))
                      .Finish();
  return result;
}

}  // namespace llava::model
