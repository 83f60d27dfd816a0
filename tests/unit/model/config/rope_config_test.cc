#include "model/config/rope_config.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/config/text_config.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string ErrorOf(const std::string& model_type, const std::string& json, TextConfig* config) {
  const auto object = *ParseJsonObject(json, "f");
  JsonReader reader("f", object);
  *config = ReadTextConfig(reader, model_type);
  return std::string(reader.status().message());
}

TextConfig Config(const std::string& model_type, const std::string& json) {
  TextConfig config;
  EXPECT_EQ(ErrorOf(model_type, json, &config), "");
  return config;
}

std::string ErrorOf(const std::string& model_type, const std::string& json) {
  TextConfig config;
  return ErrorOf(model_type, json, &config);
}

TEST(RopeConfigTest, ReadsEveryScalingOfPositions) {
  const auto with = [](const char* scaling) {
    return Config("llama", absl::StrCat(R"({"max_position_embeddings": 100, "rope_scaling": )",
                                        scaling, "}"));
  };
  const TextConfig linear = with(R"({"type": "linear", "factor": 2.5})");
  EXPECT_EQ(linear.rope.scaling, RopeConfig::Scaling::kLinear);
  EXPECT_EQ(linear.max_positions, 250);
  const TextConfig dynamic = with(R"({"rope_type": "dynamic", "factor": 4})");
  EXPECT_EQ(dynamic.rope.scaling, RopeConfig::Scaling::kDynamic);
  EXPECT_EQ(dynamic.max_positions, 100);
  const TextConfig yarn = with(R"({"rope_type": "yarn", "factor": 4,
                                   "original_max_position_embeddings": 50})");
  EXPECT_EQ(yarn.rope.scaling, RopeConfig::Scaling::kYarn);
  EXPECT_EQ(yarn.rope.original_max_positions, 50);
  EXPECT_EQ(yarn.rope.beta_fast, 32);
  EXPECT_EQ(yarn.rope.beta_slow, 1);
  EXPECT_NEAR(yarn.rope.attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
  EXPECT_EQ(yarn.max_positions, 200);
  const TextConfig scaled = with(R"({"rope_type": "yarn", "factor": 4, "mscale": 2.0,
                                     "mscale_all_dim": 0.5})");
  EXPECT_NEAR(scaled.rope.attention_factor, (0.2 * std::log(4.0) + 1) / (0.05 * std::log(4.0) + 1),
              1e-12);
  EXPECT_EQ(
      with(R"({"rope_type": "yarn", "factor": 4, "attention_factor": 1.5})").rope.attention_factor,
      1.5);
}

// As transformers does for configurations that have no factor.
TEST(RopeConfigTest, AFactorOfYarnThatIsNotGivenIsTheRatio) {
  const TextConfig yarn = Config("llama", R"({"max_position_embeddings": 200, "rope_scaling":
      {"rope_type": "yarn", "original_max_position_embeddings": 50}})");
  EXPECT_EQ(yarn.rope.factor, 4);
  EXPECT_EQ(yarn.max_positions, 200);
}

TEST(RopeConfigTest, OriginalPositionsBesideTheScalingWin) {
  const TextConfig yarn = Config("llama", R"({"max_position_embeddings": 200,
      "original_max_position_embeddings": 20, "rope_scaling":
      {"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 50}})");
  EXPECT_EQ(yarn.rope.original_max_positions, 20);
}

TEST(RopeConfigTest, OfBothKeysTheOlderCounts) {
  const TextConfig both = Config("llama", R"({"rope_theta": 5.0,
      "rope_scaling": {"rope_type": "linear", "factor": 3},
      "rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 7.0}})");
  EXPECT_EQ(both.rope.factor, 3);
  EXPECT_EQ(both.rope.theta, 5);
}

TEST(RopeConfigTest, AnEmptyScalingSaysNothing) {
  const TextConfig newer = Config("llama", R"({"rope_scaling": {},
      "rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 7.0}})");
  EXPECT_EQ(newer.rope.factor, 2);
  EXPECT_EQ(newer.rope.theta, 7);
  EXPECT_EQ(Config("llama", R"({"rope_parameters": {}, "rope_theta": 3.0})").rope.theta, 3);
}

TEST(RopeConfigTest, AnglesOfTheirOwnForLayersOfATypeAreRefused) {
  EXPECT_THAT(ErrorOf("qwen2", R"({"rope_parameters": {"full_attention": {"rope_type": "linear",
                                    "factor": 2}, "sliding_attention": {}}})"),
              AllOf(HasSubstr("rope_parameters.full_attention"), HasSubstr("every type")));
}

TEST(RopeConfigTest, APartThatStandsBesideTheScalingIsNamedThere) {
  EXPECT_THAT(ErrorOf("qwen2", R"({"partial_rotary_factor": 0.5,
                                   "rope_parameters": {"rope_theta": 5.0}})"),
              AllOf(HasSubstr(" partial_rotary_factor: expected 1"), HasSubstr("5E-1")));
}

constexpr char kLongrope[] = R"({"hidden_size": 64, "num_attention_heads": 4,
    "max_position_embeddings": 400, "original_max_position_embeddings": 100,
    "partial_rotary_factor": 0.5, "rope_scaling": {"type": "su",
    "short_factor": [1, 1.5, 2, 3], "long_factor": [2, 3, 4, 5]}})";

TEST(RopeConfigTest, LongropeHasFactorsOfItsOwnUpToTheOriginalContext) {
  const TextConfig phi3 = Config("phi3", kLongrope);
  EXPECT_EQ(phi3.rope.scaling, RopeConfig::Scaling::kLongrope);
  EXPECT_EQ(phi3.rope.rotated, 8);  // half of a head of 16
  EXPECT_THAT(phi3.rope.short_factors, ElementsAre(1, 1.5, 2, 3));
  EXPECT_THAT(phi3.rope.long_factors, ElementsAre(2, 3, 4, 5));
  EXPECT_NEAR(phi3.rope.attention_factor, std::sqrt(1 + std::log(4.0) / std::log(100.0)), 1e-12);
  EXPECT_EQ(phi3.max_positions, 100);
  EXPECT_EQ(phi3.context_bound, ContextBound::kLongrope);
}

TEST(RopeConfigTest, WhatPhi3CallsYarnIsLongrope) {
  std::string yarn = kLongrope;
  yarn.replace(yarn.find("\"su\""), 4, "\"yarn\"");
  EXPECT_EQ(Config("phi3", yarn), Config("phi3", kLongrope));
}

TEST(RopeConfigTest, WhatIsNotSupportedIsNamed) {
  EXPECT_THAT(ErrorOf("llama", R"({"rope_scaling": {"rope_type": "axial"}})"),
              HasSubstr("default, linear, dynamic, llama3, yarn, longrope"));
  EXPECT_THAT(ErrorOf("llama", R"({"rope_scaling": {"rope_type": "linear"}})"),
              HasSubstr("factor"));
  EXPECT_THAT(ErrorOf("llama", R"({"partial_rotary_factor": 0.5})"),
              HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(ErrorOf("phi3", R"({"partial_rotary_factor": 0.01})"),
              HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(ErrorOf("phi3", R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 2],
                                  "long_factor": [1, 2]}})"),
              HasSubstr("short_factor: expected a list of 48 positive numbers"));
}

}  // namespace
}  // namespace llava::model
