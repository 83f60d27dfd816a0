#include "model/config/vision_config.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

TEST(VisionConfigTest, TowersHaveDefaultsOfTheirOwn) {
  const auto clip = ParseTowerConfig(R"({"model_type": "clip_vision_model"})", "f");
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_EQ(clip->tower, VisionConfig::Tower::kClip);
  EXPECT_EQ(clip->patch_size, 32);
  EXPECT_EQ(clip->hidden_act, Activation::kQuickGelu);
  EXPECT_EQ(clip->layer_norm_eps, 1e-5);
  const auto siglip = ParseTowerConfig(R"({"model_type": "siglip_vision_model"})", "f");
  ASSERT_TRUE(siglip.ok()) << siglip.status();
  EXPECT_EQ(siglip->tower, VisionConfig::Tower::kSiglip);
  EXPECT_EQ(siglip->patch_size, 16);
  EXPECT_EQ(siglip->hidden_act, Activation::kGeluTanh);
  EXPECT_EQ(siglip->layer_norm_eps, 1e-6);
}

TEST(VisionConfigTest, ReadsTheTowerOfAFullConfiguration) {
  const auto siglip = ParseTowerConfig(
      R"({"model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model",
          "image_size": 384, "patch_size": 14}})",
      "f");
  ASSERT_TRUE(siglip.ok()) << siglip.status();
  EXPECT_EQ(siglip->patches(), 729);
  EXPECT_FALSE(ParseTowerConfig(R"({"model_type": "siglip", "vision_config": {}})", "f").ok());
}

TEST(VisionConfigTest, DefaultsAreThoseOfTheModelsConfigurations) {
  EXPECT_EQ(DefaultClip().patches(), 576);
  EXPECT_EQ(DefaultSiglip().patches(), 729);
  EXPECT_EQ(DefaultSiglip().num_layers, 26);
}

TEST(VisionConfigTest, AnotherTowerIsRefusedWithThoseThatAreSupported) {
  for (const char* const type : {"siglip2_vision_model", "pixtral"}) {
    const auto tower = ParseTowerConfig(absl::StrCat(R"({"model_type": ")", type, "\"}"), "f");
    EXPECT_THAT(std::string(tower.status().message()), HasSubstr("siglip_vision_model")) << type;
  }
}

}  // namespace
}  // namespace llava::model
