// What config.h says of WriteConfig and ConfigJson.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/config/config.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

const std::string kCheckpoint = "tests/golden/data/checkpoint";

LlavaConfig Golden() {
  LlavaConfig config = *ReadConfig(kCheckpoint);
  config.name.clear();
  return config;
}

LlavaConfig Reread(const LlavaConfig& config) {
  const test::TempDir dir;
  const absl::Status written = WriteConfig(config, dir.path());
  EXPECT_TRUE(written.ok()) << written;
  auto read = ReadConfig(dir.path());
  EXPECT_TRUE(read.ok()) << read.status();
  if (!read.ok()) return {};
  read->name.clear();
  return *read;
}

TEST(ConfigWriteTest, WhatIsWrittenIsReadAgain) {
  LlavaConfig config = Golden();
  EXPECT_EQ(Reread(config), config);
  config.feature_layers = {-2, 1};
  config.select = SelectStrategy::kKeepClassToken;
  config.projector = {.depth = 3, .activation = Activation::kGelu, .bias = false};
  config.text.tie_embeddings = true;
  config.text.eos_token_ids = {2, 5};
  config.text.rope = {.theta = 5e5,
                      .scaling = RopeConfig::Scaling::kLlama3,
                      .factor = 8,
                      .low_freq_factor = 1,
                      .high_freq_factor = 4,
                      .original_max_positions = 64};
  config.vision.hidden_act = Activation::kGeluTanh;
  config.text.hidden_act = Activation::kMish;
  EXPECT_EQ(Reread(config), config);
}

// A configuration of Mistral's without the key has a window of 4096.
TEST(ConfigWriteTest, MistralWithoutAWindowStaysSo) {
  LlavaConfig config = Golden();
  config.text.model_type = "mistral";
  config.text.max_positions = 10'000;
  EXPECT_EQ(Reread(config), config);
}

TEST(ConfigWriteTest, AWindowStaysOne) {
  LlavaConfig config = Golden();
  for (const char* type : {"mistral", "qwen2"}) {
    config.text.model_type = type;
    config.text.qkv_bias = config.text.model_type == "qwen2";
    config.text.windows.assign(static_cast<std::size_t>(config.text.num_layers), 30);
    EXPECT_EQ(Reread(config), config) << type;
  }
}

TEST(ConfigWriteTest, AWindowOfSomeLayersStaysTheirs) {
  LlavaConfig config = Golden();
  config.text.model_type = "qwen2";
  config.text.qkv_bias = true;
  config.text.windows.assign(static_cast<std::size_t>(config.text.num_layers), 0);
  config.text.windows.front() = 30;
  EXPECT_EQ(Reread(config), config);
}

TEST(ConfigWriteTest, LongropeIsReadAgain) {
  LlavaConfig config = Golden();
  config.text.model_type = "phi3";
  config.text.fused = true;
  config.text.max_positions = 30;
  config.text.context_bound = ContextBound::kLongrope;
  const int rotated = config.text.head_dim / 2;
  config.text.rope = {.scaling = RopeConfig::Scaling::kLongrope,
                      .factor = 3,
                      .short_factors = std::vector<double>(rotated / 2, 1.5),
                      .long_factors = std::vector<double>(rotated / 2, 2.5),
                      .attention_factor = 1.25,
                      .rotated = rotated,
                      .original_max_positions = 30};
  EXPECT_EQ(Reread(config), config);
}

TEST(ConfigWriteTest, TransformersReadsHowManyTokensAnImageHas) {
  LlavaConfig config = Golden();
  EXPECT_THAT(ConfigJson(config), HasSubstr("\"image_seq_length\":16"));
  config.select = SelectStrategy::kKeepClassToken;
  EXPECT_THAT(ConfigJson(config), HasSubstr("\"image_seq_length\":17"));
}

// generation_config.json wins over config.json when transformers generates.
TEST(ConfigWriteTest, EndTokensStandInGenerationConfigToo) {
  const test::TempDir dir;
  LlavaConfig config = Golden();
  config.text.eos_token_ids = {2, 7};
  ASSERT_TRUE(WriteConfig(config, dir.path()).ok());
  const auto text = ReadFile(absl::StrCat(dir.path(), "/generation_config.json"), 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("eos_token_id"));
  EXPECT_THAT(*text, HasSubstr("7"));
}

TEST(ConfigWriteTest, AFolderThatIsNotThereIsAnError) {
  const test::TempDir dir;
  const std::string absent = absl::StrCat(dir.path(), "/absent");
  const absl::Status status = WriteConfig(Golden(), absent);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(absent));
}

}  // namespace
}  // namespace llava::model
