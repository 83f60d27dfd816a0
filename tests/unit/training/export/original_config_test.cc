#include "training/export/original_config.h"

#include <boost/json.hpp>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

model::LlavaConfig Golden() {
  model::LlavaConfig config = *model::ReadConfig("tests/golden/data/checkpoint");
  config.vision_tower = "openai/clip-vit-large-patch14-336";
  config.pad_token_id = 0;
  return config;
}

std::string Refusal(const model::LlavaConfig& config) {
  const absl::Status status = CheckOriginalHas(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
  return std::string(status.message());
}

TEST(OriginalConfigTest, IsReadAsTheModelThatItWasWrittenOf) {
  model::LlavaConfig config = Golden();
  ASSERT_TRUE(CheckOriginalHas(config).ok());
  config.image_aspect = model::ImageAspect::kPad;
  config.select = model::SelectStrategy::kKeepClassToken;
  config.projector.depth = 3;
  config.text.rope.scaling = model::RopeConfig::Scaling::kLinear;
  config.text.rope.factor = 2.0;
  config.text.rope.original_max_positions = config.text.max_positions / 2;
  ASSERT_TRUE(CheckOriginalHas(config).ok());
  const auto read = model::ParseConfig(OriginalConfigJson(config), TowerConfigJson(config));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->layout, model::Layout::kOriginal);
  EXPECT_EQ(read->text, config.text);
  EXPECT_EQ(read->vision, config.vision);
  EXPECT_EQ(read->projector, config.projector);
  EXPECT_EQ(read->feature_layers, config.feature_layers);
  EXPECT_EQ(read->select, config.select);
  EXPECT_EQ(read->image_aspect, config.image_aspect);
  EXPECT_EQ(read->vision_tower, config.vision_tower);
  EXPECT_EQ(read->dtype, config.dtype);
  EXPECT_FALSE(read->image_start_end);
}

TEST(OriginalConfigTest, AMistralHasAClassOfItsOwn) {
  model::LlavaConfig config = Golden();
  config.text.model_type = "mistral";
  const auto written = boost::json::parse(OriginalConfigJson(config)).as_object();
  EXPECT_EQ(boost::json::value_to<std::string>(written.at("model_type")), "llava_mistral");
  const auto read = model::ParseConfig(OriginalConfigJson(config), TowerConfigJson(config));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->text, config.text);
}

TEST(OriginalConfigTest, SaysWhatTheOriginalCodeDoesNotHave) {
  model::LlavaConfig config = Golden();
  config.text.rope.scaling = model::RopeConfig::Scaling::kYarn;
  EXPECT_THAT(Refusal(config), HasSubstr("rotary"));
  config = Golden();
  config.text.head_dim = 8;
  EXPECT_THAT(Refusal(config), HasSubstr("heads of 8 dimensions"));
  config = Golden();
  config.text.qkv_bias = true;
  EXPECT_THAT(Refusal(config), HasSubstr("biases"));
  config = Golden();
  config.vision.tower = model::VisionConfig::Tower::kSiglip;
  EXPECT_THAT(Refusal(config), HasSubstr("no CLIP"));
  config = Golden();
  config.feature_layers = {-2, -5};
  EXPECT_THAT(Refusal(config), HasSubstr("several feature layers"));
  config = Golden();
  config.quantization = model::Quantization::kInt8;
  EXPECT_EQ(CheckOriginalHas(config).code(), absl::StatusCode::kInvalidArgument);
}

// Whether a mark begins what follows a special token, as in the checkpoint's own tokenizer.
TEST(OriginalConfigTest, TheSlowTokenizerTokenizesAlike) {
  for (const auto& [checkpoint, legacy] :
       {std::pair("tests/golden/data/checkpoint", true), std::pair("demo/checkpoint", false)}) {
    const test::TempDir dir;
    const auto tokenizer = model::Tokenizer::Load(checkpoint, model::Layout::kHuggingFace);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ASSERT_TRUE(WriteSlowTokenizerFiles(*tokenizer, 512, dir.path()).ok());
    const auto config =
        boost::json::parse(*ReadFile(dir.path() + "/tokenizer_config.json", 1 << 16)).as_object();
    EXPECT_EQ(config.at("legacy").as_bool(), legacy) << checkpoint;
    EXPECT_TRUE(config.at("add_bos_token").as_bool());
    EXPECT_EQ(boost::json::value_to<std::string>(config.at("eos_token")), "</s>");
    EXPECT_EQ(config.at("model_max_length").as_int64(), 512);
    EXPECT_THAT(*ReadFile(dir.path() + "/special_tokens_map.json", 1 << 16),
                HasSubstr("\"pad_token\":\"<unk>\""));
    std::filesystem::copy_file(absl::StrCat(checkpoint, "/tokenizer.model"),
                               dir.path() + "/tokenizer.model");
    const auto slow = model::Tokenizer::Load(dir.path(), model::Layout::kOriginal);
    ASSERT_TRUE(slow.ok()) << slow.status();
    for (const char* text : {"USER: What is it?", "a</s>USER: b", "a</s>b c"}) {
      EXPECT_EQ(slow->Encode(text), tokenizer->Encode(text)) << checkpoint << ": " << text;
    }
  }
}

}  // namespace
}  // namespace llava::training
