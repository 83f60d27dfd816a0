#include "model/config/text_config.h"

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
}

// transformers passes over them too: their layers are made without.
TEST(TextConfigTest, SettingsThatAFamilyHasNotChangeNothing) {
  for (const char* type : {"mistral", "qwen2", "phi3"}) {
    EXPECT_EQ(Config(type, R"({"attention_bias": true, "mlp_bias": true})"), Config(type, "{}"));
  }
  EXPECT_EQ(Config("qwen3", R"({"mlp_bias": true})"), Config("qwen3", "{}"));
  EXPECT_TRUE(Config("qwen3", R"({"attention_bias": true})").output_bias);
  EXPECT_EQ(Config("llama", R"({"sliding_window": 100})"), Config("llama", "{}"));
}

TEST(TextConfigTest, AWindowBoundsTheContextWhereLayersHaveOne) {
  const auto positions = [](const char* type, const char* more) {
    return Config(type, absl::StrCat(R"({"max_position_embeddings": 900, )", more, "}"))
        .max_positions;
  };
  EXPECT_EQ(positions("mistral", R"("sliding_window": 100)"), 100);
  EXPECT_EQ(positions("mistral", R"("sliding_window": null)"), 900);
  EXPECT_EQ(Config("llama", R"({"max_position_embeddings": 9000})").max_positions, 9000);
  EXPECT_EQ(Config("mistral", R"({"max_position_embeddings": 9000})").max_positions, 4096);
  EXPECT_EQ(positions("qwen2", R"("sliding_window": 100)"), 900);
  EXPECT_EQ(positions("qwen2", R"("sliding_window": 100, "use_sliding_window": true)"), 100);
  EXPECT_EQ(positions("qwen2", R"("sliding_window": 100, "use_sliding_window": true,
                                  "max_window_layers": 32)"),
            900);  // no layer has it
  const std::string listed = R"("sliding_window": 100, "use_sliding_window": true,
                                "max_window_layers": 32, "layer_types": )";
  EXPECT_EQ(positions("qwen2", (listed + R"(["full_attention", "sliding_attention"])").c_str()),
            100);
  EXPECT_EQ(positions("qwen3", (listed + R"(["full_attention"])").c_str()), 900);
  EXPECT_EQ(positions("phi3", R"("sliding_window": 100)"), 100);
  EXPECT_EQ(Config("phi3", R"({"max_position_embeddings": 9000})").max_positions, 9000);
}

TEST(TextConfigTest, SaysWhatTheContextEndsAt) {
  const auto bound = [](const char* type, const char* json) {
    return Config(type, json).context_bound;
  };
  EXPECT_EQ(bound("llama", "{}"), ContextBound::kPositions);
  EXPECT_EQ(bound("mistral", R"({"sliding_window": null})"), ContextBound::kPositions);
  EXPECT_EQ(bound("mistral", R"({"sliding_window": 9})"), ContextBound::kWindow);
  EXPECT_EQ(bound("mistral", R"({"sliding_window": 99, "max_position_embeddings": 9})"),
            ContextBound::kPositions);
  EXPECT_EQ(bound("llama", R"({"rope_scaling": {"type": "dynamic", "factor": 2}})"),
            ContextBound::kDynamic);
  EXPECT_EQ(ContextBoundText(ContextBound::kPositions), "");
  EXPECT_THAT(std::string(ContextBoundText(ContextBound::kWindow)), HasSubstr("sliding window"));
}

TEST(TextConfigTest, LayersThatSlideWithoutAWindowAreRefused) {
  EXPECT_THAT(ReadOf("qwen2", R"({"layer_types": ["sliding_attention"]})").error,
              HasSubstr("use_sliding_window"));
  EXPECT_THAT(ReadOf("qwen3", R"({"layer_types": ["chunked_attention"]})").error,
              HasSubstr("layer_types"));
}

TEST(TextConfigTest, Phi3HasFusedMatrices) {
  const TextConfig phi3 = Config("phi3", "{}");
  EXPECT_TRUE(phi3.fused);
  EXPECT_EQ(phi3.vocab_size, 32064);
  EXPECT_EQ(phi3.hidden_size, 3072);
  EXPECT_EQ(phi3.head_dim, 96);
  EXPECT_EQ(phi3.rms_norm_eps, 1e-5);
  EXPECT_THAT(phi3.eos_token_ids, ElementsAre(32000));
  EXPECT_FALSE(Config("llama", "{}").fused);
}

TEST(TextConfigTest, WhatIsNotSupportedIsNamedWithWhatIs) {
  EXPECT_THAT(ReadOf("gemma", "{}").error, HasSubstr("llama, mistral, qwen2, qwen3, phi3"));
  EXPECT_THAT(ReadOf("qwen2", R"({"hidden_act": "xielu"})").error,
              HasSubstr("a supported activation (gelu, "));
  EXPECT_THAT(ReadOf("qwen2", R"({"num_key_value_heads": 5})").error,
              HasSubstr("num_key_value_heads"));
}

}  // namespace
}  // namespace llava::model
