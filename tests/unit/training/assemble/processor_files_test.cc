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
