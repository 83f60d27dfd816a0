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

TEST(TextConfigTest, LayersHaveAWindowWhereTheirFamilyAndTheFileSaySo) {
  const auto windows = [](const char* type, const std::string& more) {
    const TextConfig text = Config(
        type,
        absl::StrCat(R"({"max_position_embeddings": 900, "num_hidden_layers": 3, )", more, "}"));
    EXPECT_EQ(text.max_positions, 900);
    return text.windows;
  };
  EXPECT_THAT(windows("mistral", R"("sliding_window": 100)"), ElementsAre(100, 100, 100));
  EXPECT_THAT(windows("mistral", R"("sliding_window": 899)"), ElementsAre(899, 899, 899));
  EXPECT_THAT(windows("mistral", R"("sliding_window": 900)"), IsEmpty());  // hides nothing
  EXPECT_THAT(windows("mistral", R"("sliding_window": null)"), IsEmpty());
  EXPECT_THAT(windows("phi3", R"("sliding_window": 100)"), ElementsAre(100, 100, 100));
  EXPECT_THAT(windows("qwen2", R"("sliding_window": 100)"), IsEmpty());
  const std::string used = R"("sliding_window": 100, "use_sliding_window": true, )";
  EXPECT_THAT(windows("qwen2", used + R"("max_window_layers": 1)"), ElementsAre(0, 100, 100));
  EXPECT_THAT(windows("qwen2", used + R"("max_window_layers": 3)"), IsEmpty());
  EXPECT_THAT(windows("qwen2", used + R"("max_window_layers": 28)"), IsEmpty());
  const std::string listed = used + R"("max_window_layers": 3, "layer_types": )";
  EXPECT_THAT(
      windows("qwen2", listed + R"(["full_attention", "sliding_attention", "full_attention"])"),
      ElementsAre(0, 100, 0));
  EXPECT_THAT(
      windows("qwen3", listed + R"(["full_attention", "full_attention", "full_attention"])"),
      IsEmpty());
  EXPECT_THAT(Config("llama", R"({"max_position_embeddings": 9000})").windows, IsEmpty());
  EXPECT_EQ(WindowOf(Config("mistral", R"({"max_position_embeddings": 9000})")), 4096);
  EXPECT_EQ(WindowOf(Config("phi3", R"({"max_position_embeddings": 9000})")), 0);
}

TEST(TextConfigTest, SaysWhatTheContextEndsAt) {
  const auto bound = [](const char* type, const char* json) {
    return Config(type, json).context_bound;
  };
  EXPECT_EQ(bound("llama", "{}"), ContextBound::kPositions);
  EXPECT_EQ(bound("mistral", R"({"sliding_window": null})"), ContextBound::kPositions);
  EXPECT_EQ(bound("mistral", R"({"sliding_window": 9})"), ContextBound::kPositions);
  EXPECT_EQ(bound("llama", R"({"rope_scaling": {"type": "dynamic", "factor": 2}})"),
            ContextBound::kDynamic);
  EXPECT_EQ(ContextBoundText(ContextBound::kPositions), "");
  EXPECT_THAT(std::string(ContextBoundText(ContextBound::kDynamic)), HasSubstr("dynamic"));
}

TEST(TextConfigTest, LayersThatSlideWithoutAWindowAreRefused) {
  EXPECT_THAT(
      ReadOf("qwen2", R"({"num_hidden_layers": 1, "layer_types": ["sliding_attention"]})").error,
      HasSubstr("use_sliding_window"));
  EXPECT_THAT(
      ReadOf("qwen3", R"({"num_hidden_layers": 1, "layer_types": ["chunked_attention"]})").error,
      HasSubstr("layer_types"));
  EXPECT_THAT(
      ReadOf("qwen3", R"({"num_hidden_layers": 2, "layer_types": ["full_attention"]})").error,
      HasSubstr("num_hidden_layers 2"));
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
