#include "model/config/text_config.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// What is read of an object, or the error.
struct Read {
  TextConfig config;
  std::string error;
};

Read ReadOf(const std::string& model_type, const std::string& json) {
  const auto object = *ParseJsonObject(json, "f");
  JsonReader reader("f", object);
  Read read;
  read.config = ReadTextConfig(reader, model_type);
  read.error = std::string(reader.status().message());
  return read;
}

TextConfig Config(const std::string& model_type, const std::string& json) {
  Read read = ReadOf(model_type, json);
  EXPECT_EQ(read.error, "");
  return read.config;
}

TEST(TextConfigTest, FamiliesHaveDefaultsOfTheirOwn) {
  const TextConfig qwen2 = Config("qwen2", "{}");
  EXPECT_EQ(qwen2.vocab_size, 151936);
  EXPECT_EQ(qwen2.intermediate_size, 22016);
  EXPECT_EQ(qwen2.head_dim, 128);
  EXPECT_EQ(qwen2.max_positions, 32768);
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.output_bias || qwen2.mlp_bias || qwen2.qk_norm);
  EXPECT_THAT(qwen2.eos_token_ids, IsEmpty());
  const TextConfig qwen3 = Config("qwen3", R"({"hidden_size": 1000, "num_attention_heads": 32})");
  EXPECT_EQ(qwen3.head_dim, 128);  // not hidden_size / num_attention_heads
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.qkv_bias);
  const TextConfig llama = Config("llama", "{}");
  EXPECT_FALSE(llama.qkv_bias || llama.output_bias || llama.mlp_bias || llama.qk_norm);
  EXPECT_THAT(llama.eos_token_ids, ElementsAre(2));
  EXPECT_EQ(Config("mistral", "{}").num_kv_heads, 8);
}

TEST(TextConfigTest, BiasesOfLlamaAreOfAllProjections) {
  const TextConfig all = Config("llama", R"({"attention_bias": true, "mlp_bias": true})");
  EXPECT_TRUE(all.qkv_bias && all.output_bias && all.mlp_bias);
  // Qwen2 has no such setting.
  EXPECT_FALSE(Config("qwen2", R"({"attention_bias": true})").output_bias);
}

TEST(TextConfigTest, AWindowBoundsTheContextWhereLayersHaveOne) {
  const auto positions = [](const char* type, const char* more) {
    return Config(type, absl::StrCat(R"({"max_position_embeddings": 900, )", more, "}"))
        .max_positions;
  };
  EXPECT_EQ(positions("mistral", R"("sliding_window": 100)"), 100);
  EXPECT_EQ(positions("mistral", R"("sliding_window": null)"), 900);
  EXPECT_EQ(positions("llama", R"("sliding_window": 100)"), 100);
  EXPECT_EQ(Config("llama", R"({"max_position_embeddings": 9000})").max_positions, 9000);
  EXPECT_EQ(Config("mistral", R"({"max_position_embeddings": 9000})").max_positions, 4096);
  EXPECT_EQ(positions("qwen2", R"("sliding_window": 100)"), 900);
  EXPECT_EQ(positions("qwen2", R"("sliding_window": 100, "use_sliding_window": true)"), 100);
  EXPECT_EQ(positions("qwen2", R"("sliding_window": 100, "use_sliding_window": true,
                                  "max_window_layers": 32)"),
            900);  // no layer has it
}

TEST(TextConfigTest, ReadsEveryScalingOfPositions) {
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

TEST(TextConfigTest, WhatIsNotSupportedIsNamedWithWhatIs) {
  EXPECT_THAT(ReadOf("phi3", "{}").error, HasSubstr("llama, mistral, qwen2, qwen3"));
  EXPECT_THAT(ReadOf("llama", R"({"rope_scaling": {"rope_type": "longrope"}})").error,
              HasSubstr("default, linear, dynamic, llama3, yarn"));
  EXPECT_THAT(ReadOf("llama", R"({"rope_scaling": {"rope_type": "yarn"}})").error,
              HasSubstr("factor"));
  EXPECT_THAT(ReadOf("qwen2", R"({"hidden_act": "gelu"})").error, HasSubstr("silu"));
  EXPECT_THAT(ReadOf("qwen2", R"({"num_key_value_heads": 5})").error,
              HasSubstr("num_key_value_heads"));
}

}  // namespace
}  // namespace llava::model
