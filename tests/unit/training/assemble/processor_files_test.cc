#include "training/assemble/processor_files.h"

#include "base/json_reader.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

model::LlavaConfig Config(model::VisionConfig::Tower tower) {
  model::LlavaConfig config;
  config.vision.tower = tower;
  config.vision.image_size = 56;
  config.vision.patch_size = 14;
  return config;
}

TEST(ProcessorFilesTest, WhatIsWrittenReadsAsItWas) {
  const test::TempDir temp;
  for (const auto tower :
       {model::VisionConfig::Tower::kClip, model::VisionConfig::Tower::kSiglip}) {
    for (const auto aspect : {model::ImageAspect::kCrop, model::ImageAspect::kPad}) {
      const model::LlavaConfig config = Config(tower);
      model::PreprocessSettings settings = *model::ParsePreprocessSettings("{}", "none", config);
      settings.aspect = aspect;
      ASSERT_TRUE(WriteProcessorFiles(config, settings, temp.path()).ok());
      const auto read = model::ReadPreprocessSettings(temp.path(), config);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(*read, settings);
    }
  }
}

// As transformers saves them (tests/golden/make_family_golden.py).
TEST(ProcessorFilesTest, TilesAreReadByTheProcessorOfTheirFamily) {
  for (const std::string family : {"next_mistral", "onevision"}) {
    const std::string checkpoint = "tests/golden/data/families/" + family + "/checkpoint";
    const model::LlavaConfig config = *model::ReadConfig(checkpoint);
    const auto settings = model::ReadPreprocessSettings(checkpoint, config);
    ASSERT_TRUE(settings.ok()) << settings.status();
    const test::TempDir temp;
    ASSERT_TRUE(WriteProcessorFiles(config, *settings, temp.path()).ok());
    const auto read = model::ReadPreprocessSettings(temp.path(), config);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, *settings);
    const auto written = *ReadJsonObject(temp.path() + "/preprocessor_config.json");
    const auto own = *ReadJsonObject(checkpoint + "/preprocessor_config.json");
    for (const auto& [key, value] : own) {
      if (key.starts_with("image_m") || key.starts_with("image_s") || key == "rescale_factor") {
        continue;  // numbers, as `settings` says
      }
      ASSERT_TRUE(written.contains(key)) << key;
      EXPECT_EQ(written.at(key), value) << key;
    }
  }
}

TEST(ProcessorFilesTest, OnlyClipHasATokenBesideItsPatches) {
  const test::TempDir temp;
  for (const auto tower :
       {model::VisionConfig::Tower::kClip, model::VisionConfig::Tower::kSiglip}) {
    ASSERT_TRUE(WriteProcessorFiles(Config(tower), {}, temp.path()).ok());
    const auto object = ReadJsonObject(temp.path() + "/processor_config.json");
    ASSERT_TRUE(object.ok()) << object.status();
    EXPECT_EQ(object->at("num_additional_image_tokens"),
              tower == model::VisionConfig::Tower::kClip ? 1 : 0);
  }
}

}  // namespace
}  // namespace llava::training
