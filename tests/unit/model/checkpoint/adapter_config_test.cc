#include "model/checkpoint/adapter_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;

constexpr char kQ[] = "model.layers.1.self_attn.q_proj";
constexpr char kUp[] = "model.layers.1.mlp.up_proj";

class AdapterConfigTest : public ::testing::Test {
 protected:
  // With these settings beside those that every adapter has.
  absl::StatusOr<AdapterConfig> Read(const std::string& settings) {
    std::ofstream(folder_.path() + "/adapter_config.json")
        << R"({"peft_type": "LORA", "base_model_name_or_path": "llava/base")" << settings << "}";
    return AdapterConfig::Read(folder_.path());
  }
  std::string Refusal(const std::string& settings, absl::StatusCode code) {
    const auto config = Read(settings);
    EXPECT_EQ(config.status().code(), code) << settings << ": " << config.status();
    return std::string(config.status().message());
  }

  test::TempDir folder_;
};

TEST_F(AdapterConfigTest, TargetsAreNamesAnExpressionOrAllLinearLayers) {
  auto config = Read(R"(, "target_modules": ["q_proj", "v_proj"])");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->base(), "llava/base");
  EXPECT_EQ(config->targets_text(), "q_proj, v_proj");
  EXPECT_TRUE(config->Targets(kQ));
  EXPECT_FALSE(config->Targets(kUp));
  config = Read(R"(, "target_modules": ".*layers\\.1\\..*", "exclude_modules": ["q_proj"])");
  EXPECT_FALSE(config->Targets(kQ));
  EXPECT_TRUE(config->Targets(kUp));
  EXPECT_FALSE(config->Targets("model.layers.11.mlp.up_proj"));
  EXPECT_TRUE(Read(R"(, "target_modules": "all-linear")")->Targets(kUp));
}

TEST_F(AdapterConfigTest, RanksAndScalesByModule) {
  auto config = Read(R"(, "target_modules": "all-linear", "r": 4, "lora_alpha": 16,
                       "rank_pattern": {"layers\\.1\\.mlp\\.up_proj": 8},
                       "alpha_pattern": {"q_proj": 2})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->RankOf(kQ), 4);
  EXPECT_EQ(config->RankOf(kUp), 8);
  EXPECT_EQ(config->RankOf("model.layers.11.mlp.up_proj"), 4);
  EXPECT_DOUBLE_EQ(config->ScaleOf(kQ), 0.5);
  EXPECT_DOUBLE_EQ(config->ScaleOf(kUp), 2);
  EXPECT_DOUBLE_EQ(config->ScaleOf("model.layers.0.mlp.up_proj"), 4);
  config = Read(R"(, "target_modules": "all-linear", "r": 2, "lora_alpha": 1, "use_rslora": true)");
  EXPECT_DOUBLE_EQ(config->ScaleOf(kQ), 1 / std::sqrt(2.0));
}

TEST_F(AdapterConfigTest, WhatIsNotSupportedIsRefusedByName) {
  constexpr char kTargets[] = R"(, "target_modules": ["q_proj"])";
  for (const auto& [key, value] : {std::pair("alora_invocation_tokens", "[1]"),
                                   {"modules_to_save", R"(["lm_head"])"},
                                   {"bias", R"("all")"},
                                   {"fan_in_fan_out", "true"},
                                   {"init_lora_weights", R"("olora")"},
                                   {"invented_later", "0.5"}}) {
    const std::string refusal = Refusal(absl::StrCat(kTargets, ", \"", key, "\": ", value),
                                        absl::StatusCode::kUnimplemented);
    EXPECT_THAT(refusal, HasSubstr(key));
    EXPECT_THAT(refusal, HasSubstr("adapter_config.json"));
  }
  EXPECT_TRUE(Read(absl::StrCat(kTargets, R"(, "use_dora": true)"))->dora());
  EXPECT_FALSE(Read(kTargets)->dora());
  EXPECT_TRUE(Read(absl::StrCat(kTargets, R"(, "use_dora": false, "modules_to_save": null,
      "invented_later": {}, "init_lora_weights": true, "layers_pattern": null)"))
                  .ok());
}

TEST_F(AdapterConfigTest, LayersAreSelectedByNumber) {
  constexpr char kTargets[] = R"(, "target_modules": ["q_proj"], "layers_to_transform": )";
  const std::string first = "model.language_model.layers.0.self_attn.q_proj";
  const std::string third = "model.language_model.layers.2.self_attn.q_proj";
  for (const char* layers : {"2", "[2]", "[1, 2]", R"([2], "layers_pattern": "layers")",
                             R"(2, "layers_pattern": ["layers"])"}) {
    const auto config = Read(absl::StrCat(kTargets, layers));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_FALSE(config->Targets(first)) << layers;
    EXPECT_TRUE(config->Targets(third)) << layers;
  }
  EXPECT_FALSE(Read(absl::StrCat(kTargets, "0"))->Targets(third));
  for (const char* all : {"null", "[]"}) {
    EXPECT_TRUE(Read(absl::StrCat(kTargets, all))->Targets(first)) << all;
  }
  EXPECT_THAT(Refusal(absl::StrCat(kTargets, R"([2], "layers_pattern": "h")"),
                      absl::StatusCode::kUnimplemented),
              HasSubstr("layers_pattern"));
  EXPECT_THAT(Refusal(absl::StrCat(kTargets, "[-1]"), absl::StatusCode::kInvalidArgument),
              HasSubstr("layers_to_transform"));
}

TEST_F(AdapterConfigTest, WhatIsWrongIsRefused) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Refusal("", kInvalid), HasSubstr("target_modules"));
  EXPECT_THAT(Refusal(R"(, "target_modules": [3])", kInvalid), HasSubstr("target_modules"));
  EXPECT_THAT(Refusal(R"(, "target_modules": "(")", kInvalid), HasSubstr("target_modules"));
  EXPECT_THAT(Refusal(R"(, "target_modules": ["q"], "r": 0)", kInvalid), HasSubstr("r: "));
  EXPECT_THAT(Refusal(R"(, "target_modules": ["q"], "r": 300)", kInvalid), HasSubstr("256"));
  EXPECT_THAT(Refusal(R"(, "target_modules": ["q"], "rank_pattern": {"q": 300})", kInvalid),
              HasSubstr("rank_pattern"));
  EXPECT_EQ(AdapterConfig::Read(folder_.path() + "/nowhere").status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::model
