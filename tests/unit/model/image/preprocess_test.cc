#include "model/image/preprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/rng.h"
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
  EXPECT_EQ(pixel.bytes, (std::vector<std::uint8_t>{0, 128, 255}));
  const std::vector<float> values = pixel.Floats();
  ASSERT_EQ(values.size(), 3u);
  EXPECT_FLOAT_EQ(values[0], -1.7922626f);  // (0 - mean) / std
  EXPECT_FLOAT_EQ(values[1], 0.16889732f);
  EXPECT_FLOAT_EQ(values[2], 2.1458969f);
  settings.normalize = false;
  EXPECT_FLOAT_EQ(Preprocessor(settings).Process({1, 1, {0, 128, 255}}).Floats()[1], 128 / 255.0f);
}

// To the bit what transformers' rescale and normalize make of the resized picture, each left out or
// not, with numbers that no float holds exactly.
TEST(PreprocessTest, BytesAndTheirTableAreTheValuesOfEveryProcessor) {
  Rng rng(5);
  const RgbImage picture = RandomImage(rng, 61, 37);
  for (const double factor : {1.0 / 255, 1.0, 0.0123}) {
    for (const bool normalize : {true, false}) {
      PreprocessSettings settings;
      settings.image_size = settings.shortest_edge = 14;
      settings.rescale_factor = factor;
      settings.normalize = normalize;
      settings.mean = {0.1, 1.0 / 3, 0.7};
      settings.std = {0.3, 1.0 / 7, 1e-3};
      const Preprocessor preprocessor(settings);
      const RgbImage resized = preprocessor.ResizeAndCrop(picture);
      const PixelValues pixels = preprocessor.Process(picture);
      ASSERT_EQ(pixels.bytes.size(), resized.pixels.size());
      const std::vector<float> values = pixels.Floats();
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t c = i / (14 * 14), at = i % (14 * 14);
        const double rescaled = resized.pixels[3 * at + c] * factor;
        const float value = static_cast<float>(rescaled);
        const float mean = static_cast<float>(settings.mean[c]);
        const float std = static_cast<float>(settings.std[c]);
        ASSERT_EQ(values[i], normalize ? (value - mean) / std : value) << factor << " " << i;
      }
    }
  }
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
    EXPECT_EQ(Preprocessor(settings).Process(line).bytes.size(), 3u * 336 * 336);
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

// CLIPImageProcessor has a do_pad too, which pads the pictures of a batch to one size.
TEST(PreprocessSettingsTest, OnlyLlavasOwnProcessorPadsToASquare) {
  const auto aspect_of = [](const char* type) {
    const std::string json =
        absl::StrCat(R"({"do_pad": true, "image_processor_type": ")", type, R"("})");
    return ParsePreprocessSettings(json, "f", ConfigOf(98)).value().aspect;
  };
  EXPECT_EQ(aspect_of("LlavaImageProcessor"), ImageAspect::kPad);
  EXPECT_EQ(aspect_of("LlavaImageProcessorFast"), ImageAspect::kPad);
  EXPECT_EQ(aspect_of("CLIPImageProcessor"), ImageAspect::kCrop);
  LlavaConfig config = ConfigOf(98);
  EXPECT_EQ(ParsePreprocessSettings(R"({"do_pad": true})", "f", config)->aspect, ImageAspect::kPad);
  config.architecture = Architecture::kVipLlava;  // whose own class is CLIP's
  EXPECT_EQ(ParsePreprocessSettings(R"({"do_pad": true})", "f", config)->aspect,
            ImageAspect::kCrop);
}

TEST(PreprocessSettingsTest, MeansThatAreNotThereAreThoseOfTheProcessorsClass) {
  LlavaConfig config = ConfigOf(98);
  config.vision.tower = VisionConfig::Tower::kSiglip;
  const auto mean_of = [&config](const char* json) {
    return ParsePreprocessSettings(json, "f", config).value().mean[0];
  };
  EXPECT_EQ(mean_of("{}"), 0.48145466);  // LlavaImageProcessor's
  config.layout = Layout::kOriginal;
  EXPECT_EQ(mean_of("{}"), 0.5);
  config.layout = Layout::kHuggingFace;
  EXPECT_EQ(mean_of(R"({"image_processor_type": "SiglipImageProcessorFast"})"), 0.5);
  EXPECT_EQ(mean_of(R"({"image_processor_type": "LlavaOnevisionImageProcessor"})"), 0.48145466);
  config.vision.tower = VisionConfig::Tower::kClip;
  EXPECT_EQ(mean_of(R"({"image_processor_type": "SiglipImageProcessor"})"), 0.5);
}

TEST(PreprocessSettingsTest, OneMeanIsThatOfAllChannels) {
  const auto settings =
      ParsePreprocessSettings(R"({"image_mean": 0.25, "image_std": 0.75})", "f", ConfigOf(98));
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->mean, (std::array<double, 3>{0.25, 0.25, 0.25}));
  EXPECT_EQ(settings->std, (std::array<double, 3>{0.75, 0.75, 0.75}));
}

TEST(PreprocessSettingsTest, TilesNeedNoCrop) {
  LlavaConfig config = ConfigOf(98);
  config.architecture = Architecture::kLlavaNext;
  config.anyres.pinpoints = {{98, 196}};
  const auto settings = ParsePreprocessSettings(R"({"do_center_crop": false})", "f", config);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(*settings, *ParsePreprocessSettings("{}", "f", config));
}

TEST(PreprocessSettingsTest, WhatCannotBeHonouredIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"crop_size": {"height": 224, "width": 224}})", "crop_size"},
      {R"({"size": {"height": 98, "width": 99}})", "size"},
      {R"({"size": {"longest_edge": 98}})", "size"},
      {R"({"size": {"shortest_edge": 0}})", "size.shortest_edge"},
      {R"({"size": "large"})", "size"},
      {R"({"resample": 1})", "resample"},
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
  Write("preprocessor_config.json", R"({"image_mean": [0.3, 0.3, 0.3]})");
  EXPECT_EQ(Mean(), 0.3);
  // What transformers 5 has saved into a folder of an older version counts, as it does there.
  Write("processor_config.json", R"({"image_processor": {"image_mean": [0.2, 0.2, 0.2]}})");
  EXPECT_EQ(Mean(), 0.2);
  Write("processor_config.json", R"({"patch_size": 14})");
  Write("preprocessor_config.json", "{");
  EXPECT_EQ(ReadPreprocessSettings(dir_, config_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// A tower of 4 x 4 pixels and a canvas of two tiles beside each other; bytes stay as they are.
struct Tiled {
  LlavaConfig config;
  PreprocessSettings settings;
  Tiled() {
    config.architecture = Architecture::kLlavaNext;
    config.vision.image_size = 4;
    config.vision.patch_size = 2;
    config.anyres.pinpoints = {{4, 8}};
    settings.image_size = 4;
    settings.shortest_edge = 0;
    settings.rescale_factor = 1;
    settings.normalize = false;
  }
};

TEST(PreprocessTest, ThePixelsOfAPictureThatFillsItsTilesAreTheirs) {
  Rng rng(1);
  const RgbImage image = RandomImage(rng, 8, 4);
  const Tiled t;
  const ImageLayout layout = LayoutOf(t.config, {8, 4});
  const PixelValues values = Preprocessor(t.settings).Process(image, layout);
  ASSERT_EQ(values.tiles, 3);  // the first is the whole picture, made smaller
  ASSERT_EQ(values.bytes.size(), 3u * 3 * 16);
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < 4; ++y) {
      for (int x = 0; x < 8; ++x) {
        const int tile = 1 + x / 4;
        EXPECT_EQ(values.bytes[static_cast<std::size_t>(((tile * 3 + c) * 4 + y) * 4 + x % 4)],
                  image.pixels[static_cast<std::size_t>(3 * (8 * y + x) + c)]);
      }
    }
  }
}

TEST(PreprocessTest, APictureIsCentredOnItsCanvasWhichIsBlack) {
  const RgbImage image{4, 4, std::vector<std::uint8_t>(48, 200)};
  const Tiled t;
  const PixelValues values = Preprocessor(t.settings).Process(image, LayoutOf(t.config, {4, 4}));
  for (int x = 0; x < 8; ++x) {
    const int tile = 1 + x / 4;
    EXPECT_EQ(values.bytes[static_cast<std::size_t>(tile * 48 + x % 4)], x < 2 || x > 5 ? 0 : 200)
        << x;
  }
}

TEST(PreprocessTest, TheDigestOfATiledPictureNamesItsLayout) {
  const RgbImage black{4, 4, std::vector<std::uint8_t>(48, 0)};
  const RgbImage small{2, 2, std::vector<std::uint8_t>(12, 0)};
  const RgbImage wide{8, 4, std::vector<std::uint8_t>(96, 0)};
  const Tiled t;
  const Preprocessor preprocessor(t.settings);
  const auto digest = [&](const RgbImage& image) {
    return preprocessor.Process(image, LayoutOf(t.config, {image.width, image.height})).digest;
  };
  EXPECT_EQ(digest(black), digest(small));  // the same tiles, and as many tokens
  EXPECT_NE(digest(black), digest(wide));
}

TEST(PreprocessTest, TheFilesTilesAreThoseOfTheConfiguration) {
  const Tiled t;
  const auto read = [&](const char* json) { return ParsePreprocessSettings(json, "f", t.config); };
  EXPECT_TRUE(read(R"({"image_grid_pinpoints": [[4, 8]], "size": {"shortest_edge": 4}})").ok());
  EXPECT_THAT(std::string(read(R"({"image_grid_pinpoints": [[8, 4]]})").status().message()),
              HasSubstr("image_grid_pinpoints"));
  EXPECT_THAT(std::string(read(R"({"size": {"shortest_edge": 8}})").status().message()),
              HasSubstr("size"));
}

}  // namespace
}  // namespace llava::model
