#include "training/export/original_config.h"

#include <boost/json.hpp>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

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

}  // namespace
}  // namespace llava::training
