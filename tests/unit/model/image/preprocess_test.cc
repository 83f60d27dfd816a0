#include "model/image/preprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "base/rng.h"
#include "model/image/resample.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

const fs::path kData = "tests/unit/model/image/data/preprocess";

RgbImage ReadImage(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  auto image = DecodeImage(out.str());
  EXPECT_TRUE(image.ok()) << path << ": " << image.status();
  return *std::move(image);
}

RgbImage RandomImage(Rng& rng, int width, int height) {
  RgbImage image{width, height, {}};
  image.pixels.resize(std::size_t{3} * width * height);
  for (auto& byte : image.pixels) byte = static_cast<std::uint8_t>(rng.Below(256));
  return image;
}

LlavaConfig ConfigOf(int image_size) {
  LlavaConfig config;
  config.vision.image_size = image_size;
  return config;
}

// The plainest form of Pillow's resampling, one channel, one axis: the whole canvas is there.
std::vector<std::uint8_t> NaiveResample(const std::vector<std::uint8_t>& in, int out_size) {
  const int in_size = static_cast<int>(in.size());
  if (in_size == out_size) return in;
  const double scale = static_cast<double>(in_size) / out_size;
  const double widening = std::max(scale, 1.0);
  const auto cubic = [](double x) {
    x = std::abs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0.0;
  };
  std::vector<std::uint8_t> out;
  for (int i = 0; i < out_size; ++i) {
    const double center = (i + 0.5) * scale;
    const int low = std::max(0, static_cast<int>(center - 2 * widening + 0.5));
    const int high = std::min(in_size, static_cast<int>(center + 2 * widening + 0.5));
    double sum = 0;
    for (int x = low; x < high; ++x) sum += cubic((x - center + 0.5) / widening);
    std::int64_t total = 1 << 21;
    for (int x = low; x < high; ++x) {
      const double weight = cubic((x - center + 0.5) * (1 / widening)) / sum;
      total += in[x] * static_cast<std::int64_t>(weight * (1 << 22) + (weight < 0 ? -0.5 : 0.5));
    }
    out.push_back(static_cast<std::uint8_t>(std::clamp<std::int64_t>(total >> 22, 0, 255)));
  }
  return out;
}

using Plane = std::vector<std::vector<std::uint8_t>>;

Plane NaiveResampleColumns(Plane plane, std::int64_t size) {
  for (auto& row : plane) row = NaiveResample(row, static_cast<int>(size));
  return plane;
}

Plane Transpose(const Plane& plane) {
  Plane out(plane[0].size(), std::vector<std::uint8_t>(plane.size()));
  for (std::size_t y = 0; y < plane.size(); ++y) {
    for (std::size_t x = 0; x < plane[0].size(); ++x) out[x][y] = plane[y][x];
  }
  return out;
}

// Pads, resizes the whole image and cuts the window out of it at the end.
RgbImage NaiveWindow(const RgbImage& picture, const std::array<std::uint8_t, 3>& colour,
                     const ResampleAxis& horizontal, const ResampleAxis& vertical) {
  RgbImage out{static_cast<int>(horizontal.count), static_cast<int>(vertical.count), {}};
  out.pixels.resize(std::size_t{3} * out.width * out.height);
  const std::int64_t rows_lost = vertical.canvas - vertical.resized;
  const bool rows_first = rows_lost > 0 && rows_lost > 2 * (horizontal.canvas - horizontal.resized);
  for (int c = 0; c < 3; ++c) {
    Plane plane(vertical.canvas, std::vector<std::uint8_t>(horizontal.canvas, colour[c]));
    for (int y = 0; y < picture.height; ++y) {
      for (int x = 0; x < picture.width; ++x) {
        plane[vertical.offset + y][horizontal.offset + x] =
            picture.pixels[3 * (y * picture.width + x) + c];
      }
    }
    if (!rows_first) plane = NaiveResampleColumns(plane, horizontal.resized);
    plane = Transpose(NaiveResampleColumns(Transpose(plane), vertical.resized));
    if (rows_first) plane = NaiveResampleColumns(plane, horizontal.resized);
    for (int y = 0; y < out.height; ++y) {
      for (int x = 0; x < out.width; ++x) {
        out.pixels[3 * (y * out.width + x) + c] = plane[vertical.first + y][horizontal.first + x];
      }
    }
  }
  return out;
}

ResampleAxis RandomAxis(Rng& rng, int pixels) {
  ResampleAxis axis{.image = pixels};
  axis.canvas = pixels + (rng.Chance(0.5) ? rng.Between(0, 40) : 0);
  axis.offset = rng.Between(0, axis.canvas - pixels);
  axis.resized = rng.Chance(0.2) ? axis.canvas : rng.Between(1, 60);
  axis.first = rng.Between(0, axis.resized - 1);
  axis.count = rng.Between(1, axis.resized - axis.first);
  return axis;
}

TEST(ResampleTest, AWindowEqualsThePartOfTheWholeResizedCanvas) {
  constexpr std::uint64_t kSeed = 7;
  SCOPED_TRACE(kSeed);
  Rng rng(kSeed);
  for (int round = 0; round < 300; ++round) {
    const int width = static_cast<int>(rng.Between(1, rng.Chance(0.2) ? 200 : 40));
    const int height = static_cast<int>(rng.Between(1, 40));
    const RgbImage picture = RandomImage(rng, width, height);
    const ResampleAxis horizontal = RandomAxis(rng, picture.width);
    const ResampleAxis vertical = RandomAxis(rng, picture.height);
    const std::array<std::uint8_t, 3> colour{122, 116, 255};
    ASSERT_EQ(Resample(picture, colour, horizontal, vertical).pixels,
              NaiveWindow(picture, colour, horizontal, vertical).pixels)
        << "round " << round;
  }
}

TEST(PreprocessTest, ResizingAndCroppingEqualPillowsToTheByte) {
  int cases = 0;
  for (const auto& entry : fs::directory_iterator(kData)) {
    const std::vector<std::string> name =
        absl::StrSplit(entry.path().filename().string(), '.');  // NAME.SIZE.EDGE.MODE.png
    if (name.size() != 5) continue;
    SCOPED_TRACE(entry.path().filename());
    PreprocessSettings settings;
    settings.image_size = std::atoi(name[1].c_str());
    settings.shortest_edge = std::atoi(name[2].c_str());
    settings.aspect = name[3] == "pad" ? ImageAspect::kPad : ImageAspect::kCrop;
    const RgbImage ours =
        Preprocessor(settings).ResizeAndCrop(ReadImage(kData / (name[0] + ".png")));
    const RgbImage pillows = ReadImage(entry.path());
    ASSERT_EQ(ours.width, pillows.width);
    ASSERT_EQ(ours.height, pillows.height);
    EXPECT_EQ(ours.pixels, pillows.pixels);
    ++cases;
  }
  EXPECT_EQ(cases, 17);
}

TEST(PreprocessTest, ValuesAreRescaledAndNormalisedChannelByChannel) {
  PreprocessSettings settings;
  settings.image_size = settings.shortest_edge = 1;
  const PixelValues pixel = Preprocessor(settings).Process({1, 1, {0, 128, 255}});
  ASSERT_EQ(pixel.values.size(), 3u);
  EXPECT_FLOAT_EQ(pixel.values[0], -1.7922626f);  // (0 - mean) / std
  EXPECT_FLOAT_EQ(pixel.values[1], 0.16889732f);
  EXPECT_FLOAT_EQ(pixel.values[2], 2.1458969f);
  settings.normalize = false;
  EXPECT_FLOAT_EQ(Preprocessor(settings).Process({1, 1, {0, 128, 255}}).values[1], 128 / 255.0f);
}

TEST(PreprocessTest, EqualImagesHaveEqualDigestsAndOthersDoNot) {
  Rng rng(3);
  RgbImage picture = RandomImage(rng, 30, 20);
  PreprocessSettings settings;
  settings.image_size = settings.shortest_edge = 14;
  const Digest digest = Preprocessor(settings).Process(picture).digest;
  EXPECT_EQ(Preprocessor(settings).Process(picture).digest, digest);
  PreprocessSettings padding = settings;
  padding.aspect = ImageAspect::kPad;
  EXPECT_NE(Preprocessor(padding).Process(picture).digest, digest);
  PreprocessSettings brighter = settings;
  brighter.mean[1] = 0.4;
  EXPECT_NE(Preprocessor(brighter).Process(picture).digest, digest);
  picture.pixels[3 * (10 * 30 + 15)] ^= 0xFF;
  EXPECT_NE(Preprocessor(settings).Process(picture).digest, digest);
}

TEST(PreprocessTest, ALineOfPixelsAsLongAsAllowedIsResizedWithinItsWindow) {
  Rng rng(4);
  const RgbImage line = RandomImage(rng, kMaxImageSide, 1);
  for (const ImageAspect aspect : {ImageAspect::kCrop, ImageAspect::kPad}) {
    PreprocessSettings settings;
    settings.aspect = aspect;
    EXPECT_EQ(Preprocessor(settings).Process(line).values.size(), 3u * 336 * 336);
  }
}

TEST(PreprocessSettingsTest, TheFileOfTheHubIsTheDefault) {
  const auto hub = ParsePreprocessSettings(
      R"({"crop_size": {"height": 336, "width": 336}, "do_center_crop": true,
          "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
          "image_mean": [0.48145466, 0.4578275, 0.40821073],
          "image_processor_type": "CLIPImageProcessor",
          "image_std": [0.26862954, 0.26130258, 0.27577711], "processor_class": "LlavaProcessor",
          "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 336}})",
      "preprocessor_config.json", ConfigOf(336));
  ASSERT_TRUE(hub.ok()) << hub.status();
  EXPECT_EQ(*hub, PreprocessSettings());
  EXPECT_EQ(*ParsePreprocessSettings("{}", "f", ConfigOf(336)), PreprocessSettings());
}

TEST(PreprocessSettingsTest, OtherWaysToWriteSizes) {
  const auto old =
      ParsePreprocessSettings(R"({"size": 224, "crop_size": 224})", "f", ConfigOf(224));
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(old->shortest_edge, 224);
  const auto square = ParsePreprocessSettings(
      R"({"size": {"height": 98, "width": 98}, "do_center_crop": false})", "f", ConfigOf(98));
  ASSERT_TRUE(square.ok()) << square.status();
  EXPECT_EQ(square->shortest_edge, 0);
  const auto padded = ParsePreprocessSettings(R"({"do_pad": true})", "f", ConfigOf(98));
  ASSERT_TRUE(padded.ok()) << padded.status();
  EXPECT_EQ(padded->aspect, ImageAspect::kPad);
}

TEST(PreprocessSettingsTest, WhatCannotBeHonouredIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"crop_size": {"height": 224, "width": 224}})", "crop_size"},
      {R"({"size": {"height": 98, "width": 99}})", "size"},
      {R"({"size": {"longest_edge": 98}})", "size"},
      {R"({"size": {"shortest_edge": 0}})", "size.shortest_edge"},
      {R"({"size": "large"})", "size"},
      {R"({"resample": 2})", "resample"},
      {R"({"do_resize": false})", "do_resize"},
      {R"({"do_center_crop": false})", "do_center_crop"},
      {R"({"image_mean": [0.5, 0.5]})", "image_mean"},
      {R"({"image_mean": [0.5, 0.5, 7]})", "image_mean"},
      {R"({"image_std": [0.5, 0, 0.5]})", "image_std"},
      {R"({"rescale_factor": "1/255"})", "rescale_factor"},
      {R"([])", "preprocessor_config.json"},
  };
  for (const auto& [json, key] : cases) {
    const auto settings = ParsePreprocessSettings(json, "preprocessor_config.json", ConfigOf(98));
    ASSERT_FALSE(settings.ok()) << json;
    EXPECT_EQ(settings.status().code(), absl::StatusCode::kInvalidArgument) << settings.status();
    EXPECT_THAT(std::string(settings.status().message()),
                AllOf(HasSubstr("preprocessor_config.json"), HasSubstr(key)));
  }
}

class PreprocessSettingsFilesTest : public ::testing::Test {
 protected:
  PreprocessSettingsFilesTest() {
    fs::create_directories(dir_ / "clip");
    config_.vision_tower_dir = dir_ / "clip";
  }

  void Write(const char* name, const char* json) { std::ofstream(dir_ / name) << json; }
  double Mean() { return ReadPreprocessSettings(dir_, config_).value().mean[0]; }

  const test::TempDir temporary_;
  const fs::path dir_ = temporary_.path();
  LlavaConfig config_ = ConfigOf(98);
};

TEST_F(PreprocessSettingsFilesTest, TheNearestFileCounts) {
  EXPECT_EQ(Mean(), PreprocessSettings().mean[0]);
  Write("processor_config.json", R"({"patch_size": 14})");
  Write("clip/preprocessor_config.json", R"({"image_mean": [0.1, 0.1, 0.1]})");
  EXPECT_EQ(Mean(), 0.1);
  Write("processor_config.json", R"({"image_processor": {"image_mean": [0.2, 0.2, 0.2]}})");
  EXPECT_EQ(Mean(), 0.2);
  Write("preprocessor_config.json", R"({"image_mean": [0.3, 0.3, 0.3]})");
  EXPECT_EQ(Mean(), 0.3);
  Write("preprocessor_config.json", "{");
  EXPECT_EQ(ReadPreprocessSettings(dir_, config_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace llava::model
