#include "model/config/config.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

void Write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// A Hugging Face configuration with these members more.
std::string HuggingFace(const std::string& top, const std::string& text = "",
                        const std::string& vision = "") {
  return absl::StrCat(R"({"model_type": "llava", "image_token_index": 9)", top.empty() ? "" : ", ",
                      top, R"(, "text_config": {"model_type": "llama", "vocab_size": 64)",
                      text.empty() ? "" : ", ", text,
                      R"(}, "vision_config": {"model_type": "clip_vision_model")",
                      vision.empty() ? "" : ", ", vision, "}}");
}

LlavaConfig Parsed(const std::string& json) {
  auto config = ParseConfig(json, "");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : LlavaConfig();
}

std::string ErrorOf(const std::string& json, const std::string& vision_json = "") {
  const auto config = ParseConfig(json, vision_json);
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << config.status();
  return std::string(config.status().message());
}

// config.json of llava-hf/llava-1.5-7b-hf: what it leaves out are LlamaConfig's and CLIP's
// defaults.
TEST(ConfigTest, FillsWhatTheHubsConfigLeavesOut) {
  const LlavaConfig config = Parsed(R"({
    "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100,
    "image_token_index": 32000, "model_type": "llava", "pad_token_id": 32001,
    "projector_hidden_act": "gelu", "tie_word_embeddings": false, "torch_dtype": "float16",
    "text_config": {"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
      "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
      "torch_dtype": "float16", "vocab_size": 32064},
    "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
      "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24,
      "patch_size": 14, "projection_dim": 768, "vocab_size": 32000},
    "vision_feature_layer": -2, "vision_feature_select_strategy": "default"})");
  EXPECT_EQ(config.layout, Layout::kHuggingFace);
  EXPECT_EQ(config.text.hidden_size, 4096);
  EXPECT_EQ(config.text.intermediate_size, 11008);
  EXPECT_EQ(config.text.num_layers, 32);
  EXPECT_EQ(config.text.num_heads, 32);
  EXPECT_EQ(config.text.num_kv_heads, 32);
  EXPECT_EQ(config.text.head_dim, 128);
  EXPECT_EQ(config.text.max_positions, 4096);
  EXPECT_EQ(config.text.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.text.rope, RopeConfig());
  EXPECT_THAT(config.text.eos_token_ids, ElementsAre(2));
  EXPECT_EQ(config.vision.hidden_act, Activation::kQuickGelu);
  EXPECT_EQ(config.vision.layer_norm_eps, 1e-5);
  EXPECT_EQ(config.projector, ProjectorConfig());
  EXPECT_EQ(config.image_token_id, 32000);
  EXPECT_EQ(config.pad_token_id, 32001);
  EXPECT_EQ(config.tile_tokens(), 576);
  EXPECT_THAT(config.FeatureLayerIndices(), ElementsAre(23));
  EXPECT_EQ(config.dtype, "float16");
  EXPECT_EQ(config.base_model, "lmsys/vicuna-7b-v1.5");
}

TEST(ConfigTest, AbsentSubConfigurationsAreTheReferenceModels) {
  const LlavaConfig config = Parsed(
      R"({"model_type": "llava", "image_token_index": 7, "text_config": {"model_type": "llama"}})");
  EXPECT_EQ(config.vision.hidden_size, 1024);
  EXPECT_EQ(config.vision.num_layers, 24);
  EXPECT_EQ(config.vision.image_size, 336);
  // A vision_config without values is CLIPVisionConfig's default instead.
  EXPECT_EQ(Parsed(HuggingFace("")).vision.hidden_size, 768);
  EXPECT_EQ(Parsed(HuggingFace("")).vision.patch_size, 32);
}

TEST(ConfigTest, ReadsTheVariations) {
  const LlavaConfig config = Parsed(HuggingFace(
      R"("vision_feature_layer": [-2, 3, 0], "vision_feature_select_strategy": "full",
         "projector_hidden_act": "linear", "multimodal_projector_bias": false,
         "tie_word_embeddings": true)",
      R"("hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24,
         "eos_token_id": [2, 7], "rope_theta": 1e6)",
      R"("num_hidden_layers": 5, "image_size": [70, 70], "patch_size": 14, "hidden_act": "gelu")"));
  EXPECT_THAT(config.feature_layers, ElementsAre(-2, 3, 0));
  EXPECT_THAT(config.FeatureLayerIndices(), ElementsAre(4, 3, 0));
  EXPECT_EQ(config.projector_input_size(), 3 * 768);
  EXPECT_EQ(config.select, SelectStrategy::kKeepClassToken);
  EXPECT_EQ(config.tile_tokens(), 26);
  EXPECT_EQ(config.projector.activation, Activation::kIdentity);
  EXPECT_FALSE(config.projector.bias);
  EXPECT_TRUE(config.text.tie_embeddings);
  EXPECT_EQ(config.text.num_kv_heads, 2);
  EXPECT_EQ(config.text.head_dim, 24);
  EXPECT_EQ(config.text.rope.theta, 1e6);
  EXPECT_THAT(config.text.eos_token_ids, ElementsAre(2, 7));
  EXPECT_EQ(config.vision.hidden_act, Activation::kGelu);
}

TEST(ConfigTest, RopeScalingOfTransformers4And5) {
  const LlavaConfig linear = Parsed(
      HuggingFace("", R"("rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0})"));
  EXPECT_EQ(linear.text.rope.scaling, RopeConfig::Scaling::kLinear);
  EXPECT_EQ(linear.text.rope.factor, 2.0);
  EXPECT_EQ(linear.text.rope.theta, 5e5);
  const LlavaConfig llama3 = Parsed(HuggingFace("", R"("rope_parameters": {
      "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
      "high_freq_factor": 4.0, "original_max_position_embeddings": 1024})"));
  EXPECT_EQ(llama3.text.rope.scaling, RopeConfig::Scaling::kLlama3);
  EXPECT_EQ(llama3.text.rope.theta, 5e5);
  EXPECT_EQ(llama3.text.rope.high_freq_factor, 4.0);
  EXPECT_EQ(llama3.text.rope.original_max_positions, 1024);
  EXPECT_EQ(Parsed(HuggingFace("", R"("rope_scaling": null)")).text.rope, RopeConfig());
}

// The context is derived: vLLM multiplies by the factor of linear scaling, and of no other kind.
TEST(ConfigTest, LinearScalingLengthensTheContext) {
  const auto positions = [](const std::string& text) {
    return Parsed(HuggingFace("", text)).text.max_positions;
  };
  EXPECT_EQ(positions(R"("max_position_embeddings": 512,
                         "rope_scaling": {"type": "linear", "factor": 4.0})"),
            2048);
  EXPECT_EQ(positions(R"("max_position_embeddings": 512,
                         "rope_parameters": {"rope_type": "linear", "factor": 2.5})"),
            1280);
  EXPECT_EQ(positions(R"("max_position_embeddings": 512, "rope_scaling": {"rope_type": "llama3",
                         "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0})"),
            512);
  EXPECT_EQ(positions(R"("max_position_embeddings": 4194304,
                         "rope_scaling": {"type": "linear", "factor": 1000000})"),
            4194304);
  const std::string window = HuggingFace("", R"("max_position_embeddings": 512,
      "sliding_window": 1000, "rope_scaling": {"type": "linear", "factor": 4.0})");
  EXPECT_EQ(Parsed(window).text.max_positions, 2048);  // of Llama it says nothing
  const TextConfig text = Parsed(absl::StrReplaceAll(window, {{"\"llama\"", "\"mistral\""}})).text;
  EXPECT_EQ(text.max_positions, 2048);
  EXPECT_EQ(WindowOf(text), 1000);
}

TEST(ConfigTest, APaddingTokenBeyondTheEmbeddingIsNone) {
  EXPECT_EQ(Parsed(HuggingFace(R"("pad_token_id": 10)", "")).pad_token_id, 10);
  EXPECT_EQ(Parsed(HuggingFace(R"("pad_token_id": 32999)", "")).pad_token_id, 0);
}

TEST(ConfigTest, ASlidingWindowIsNoLimitOfTheContext) {
  const std::string mistral = absl::StrReplaceAll(
      HuggingFace("", R"("max_position_embeddings": 32768)"), {{"\"llama\"", "\"mistral\""}});
  EXPECT_EQ(Parsed(mistral).text.max_positions, 32768);
  EXPECT_EQ(WindowOf(Parsed(mistral).text), 4096);  // MistralConfig's default
  EXPECT_EQ(Parsed(mistral).text.num_kv_heads, 8);
  EXPECT_EQ(WindowOf(Parsed(absl::StrReplaceAll(
                                mistral, {{"\"max_pos", "\"sliding_window\": null, \"max_pos"}}))
                         .text),
            0);
}

constexpr char kOriginal[] = R"({
  "_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlavaLlamaForCausalLM"],
  "model_type": "llava_llama", "vocab_size": 100, "hidden_size": 64, "num_attention_heads": 4,
  "rms_norm_eps": 1e-05, "max_position_embeddings": 4096, "pad_token_id": 0,
  "image_aspect_ratio": "pad", "mm_hidden_size": 48, "mm_projector_type": "mlp2x_gelu",
  "mm_resampler_type": null, "mm_use_im_patch_token": false, "mm_use_im_start_end": false,
  "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2,
  "mm_vision_tower": "openai/clip-vit-large-patch14-336", "tokenizer_model_max_length": 2048})";
constexpr char kTower[] = R"({"model_type": "clip_vision_model", "hidden_size": 48,
  "num_attention_heads": 4, "num_hidden_layers": 3, "image_size": 28, "patch_size": 14})";

TEST(ConfigTest, OriginalLayout) {
  const auto config = ParseConfig(kOriginal, kTower);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layout, Layout::kOriginal);
  EXPECT_EQ(config->vision.num_layers, 3);
  EXPECT_EQ(config->text.hidden_size, 64);
  EXPECT_EQ(config->projector.depth, 2);
  EXPECT_EQ(config->image_token_id, kOriginalImageTokenId);
  EXPECT_EQ(config->image_aspect, ImageAspect::kPad);
  EXPECT_EQ(config->tokenizer_max_length, 2048);
  EXPECT_EQ(config->vision_tower, "openai/clip-vit-large-patch14-336");
  // The older model_type, a full CLIP configuration, a linear projector, the class token kept.
  const std::string older =
      absl::StrReplaceAll(kOriginal, {{"\"llava_llama\"", "\"llava\""},
                                      {"\"mlp2x_gelu\"", "\"linear\""},
                                      {"\"patch\"", "\"cls_patch\""},
                                      {"\"image_aspect_ratio\": \"pad\",", ""}});
  const auto full =
      ParseConfig(older, absl::StrCat(R"({"model_type": "clip", "vision_config": )", kTower, "}"));
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(full->layout, Layout::kOriginal);
  EXPECT_EQ(full->vision, config->vision);
  EXPECT_EQ(full->projector.depth, 1);
  EXPECT_EQ(full->tile_tokens(), 5);
  EXPECT_EQ(full->image_aspect, ImageAspect::kCrop);
}

// What the hub's configurations of the other families leave out.
TEST(ConfigTest, FillsWhatLlavaNextLeavesOut) {
  const LlavaConfig next = Parsed(R"({"model_type": "llava_next",
      "text_config": {"model_type": "mistral", "vocab_size": 32064}})");
  EXPECT_EQ(next.architecture, Architecture::kLlavaNext);
  EXPECT_EQ(next.vision,
            Parsed(R"({"model_type": "llava", "text_config": {"vocab_size": 32064}})").vision);
  EXPECT_EQ(next.anyres.pinpoints.size(), 5u);
  EXPECT_EQ(next.anyres.max_tiles, 0);
  EXPECT_THAT(next.feature_layers, ElementsAre(-2));
}

TEST(ConfigTest, FillsWhatOnevisionLeavesOut) {
  const LlavaConfig onevision = Parsed(R"({"model_type": "llava_onevision"})");
  EXPECT_EQ(onevision.text.model_type, "qwen2");
  EXPECT_EQ(onevision.vision.tower, VisionConfig::Tower::kSiglip);
  EXPECT_EQ(onevision.tile_tokens(), 729);
  EXPECT_EQ(onevision.anyres.pinpoints.size(), 36u);
  EXPECT_EQ(onevision.anyres.max_tiles, 9);
  EXPECT_EQ(onevision.image_token_id, 151646);
  EXPECT_THAT(onevision.feature_layers, ElementsAre(-1));
}

TEST(ConfigTest, FillsWhatVipLlavaLeavesOut) {
  const LlavaConfig vip =
      Parsed(R"({"model_type": "vipllava", "text_config": {"vocab_size": 32064}})");
  EXPECT_TRUE(vip.projector.input_norm);
  EXPECT_THAT(vip.feature_layers, ElementsAre(-2, -5, -8, -11, 6));
  EXPECT_EQ(vip.projector_input_size(), 5 * 1024);
}

TEST(ConfigTest, TilesMayHaveFeaturesOfSeveralLayers) {
  const LlavaConfig next = Parsed(
      R"({"model_type": "llava_next", "text_config": {"vocab_size": 32064},
          "vision_feature_layer": [-2, -3]})");
  EXPECT_THAT(next.feature_layers, ElementsAre(-2, -3));
  EXPECT_EQ(next.projector_input_size(), 2 * 1024);
}

TEST(ConfigTest, TilesMustFitTheTower) {
  const auto with = [](const std::string& more) {
    return ErrorOf(R"({"model_type": "llava_next", "text_config": {"vocab_size": 32064}, )" + more +
                   "}");
  };
  EXPECT_THAT(with(R"("image_grid_pinpoints": [[336, 500]])"), HasSubstr("image_grid_pinpoints"));
  EXPECT_THAT(with(R"("image_grid_pinpoints": [[336000, 336]])"),
              HasSubstr("image_grid_pinpoints"));
  EXPECT_THAT(with(R"("image_grid_pinpoints": [])"), HasSubstr("image_grid_pinpoints"));
  EXPECT_THAT(with(R"("image_grid_pinpoints": [[336]])"), HasSubstr("image_grid_pinpoints"));
  EXPECT_THAT(with(R"("vision_feature_select_strategy": "full")"),
              HasSubstr("vision_feature_select_strategy"));
  EXPECT_THAT(ErrorOf(R"({"model_type": "llava_onevision", "vision_aspect_ratio": "pad"})"),
              HasSubstr("anyres_max_N"));
}

TEST(ConfigTest, NamesWhatItCannotHonour) {
  struct Case {
    std::string json;
    std::string key;
    std::string found;
  };
  const auto original = [](std::string_view from, std::string_view to) {
    return absl::StrReplaceAll(kOriginal, {{from.data(), to.data()}});
  };
  const Case cases[] = {
      {R"({"model_type": "llama"})", "model_type", "\"llama\""},
      {R"({"model_type": "pixtral"})", "model_type", "pixtral"},
      {R"({"hidden_size": 4})", "model_type", "nothing"},
      {HuggingFace("", R"("hidden_act": "laplace")"), "text_config.hidden_act", "laplace"},
      {HuggingFace("", R"("rope_scaling": {"type": "proportional", "factor": 2})"),
       "text_config.rope_scaling.type", "proportional"},
      {HuggingFace("", R"("rope_scaling": {"type": "llama3", "factor": 2, "low_freq_factor": 4,
                            "high_freq_factor": 4})"),
       "rope_scaling.high_freq_factor", "4"},
      {HuggingFace("", R"("rope_parameters": {"rope_type": "axial", "factor": 2})"),
       "text_config.rope_parameters.rope_type", "axial"},
      {HuggingFace("", R"("rope_scaling": {"type": "linear"})"), "rope_scaling.factor", "nothing"},
      {HuggingFace("", R"("rope_parameters": {"partial_rotary_factor": 0.5})"),
       "partial_rotary_factor", "5E-1"},
      {HuggingFace("", R"("num_attention_heads": 6, "num_key_value_heads": 4, "head_dim": 2)"),
       "num_key_value_heads", "4"},
      {HuggingFace("", R"("hidden_size": 65)"), "text_config.hidden_size", "65"},
      {HuggingFace("", R"("head_dim": 3)"), "text_config.head_dim", "3"},
      {HuggingFace("", R"("head_dim": 258)"), "text_config.head_dim", "258"},
      {HuggingFace("", R"("hidden_size": 2048, "num_attention_heads": 4)"), "text_config.head_dim",
       "512"},
      {HuggingFace("", R"("hidden_size": 4, "num_attention_heads": 4)"), "text_config.head_dim",
       "here 1"},
      {HuggingFace("", R"("hidden_size": 1e30)"), "text_config.hidden_size", "1E30"},
      {HuggingFace("", R"("hidden_size": 99999999999)"), "text_config.hidden_size", "99999999999"},
      {HuggingFace("", R"("num_hidden_layers": 0)"), "text_config.num_hidden_layers", "0"},
      {HuggingFace("", R"("num_hidden_layers": "two")"), "num_hidden_layers", "\"two\""},
      {HuggingFace("", R"("rms_norm_eps": -1)"), "rms_norm_eps", "-1"},
      {HuggingFace("", R"("eos_token_id": [])"), "eos_token_id", "[]"},
      {HuggingFace("", R"("model_type": "gemma")"), "text_config.model_type", "gemma"},
      {HuggingFace(R"("quantization_config": {"bits": 4})"), "quantization_config", "bits"},
      {HuggingFace(R"("image_token_id": 64, "image_token_index": null)"), "image_token_id", "64"},
      {HuggingFace(R"("vision_feature_layer": -14)"), "vision_feature_layer", "-14"},
      {HuggingFace(R"("vision_feature_select_strategy": "half")"), "vision_feature_select_strategy",
       "half"},
      {HuggingFace(R"("projector_hidden_act": "prelu")"), "projector_hidden_act", "prelu"},
      {HuggingFace("", "", R"("model_type": "pixtral")"), "vision_config.model_type", "pixtral"},
      {HuggingFace("", "", R"("patch_size": 225)"), "vision_config.patch_size", "225"},
      {HuggingFace("", "", R"("image_size": [224, 336])"), "vision_config.image_size", "[224,336]"},
      {HuggingFace("", "", R"("num_channels": 1)"), "vision_config.num_channels", "1"},
      {original("\"pad\"", "\"anyres\""), "image_aspect_ratio", "anyres"},
      {original("mlp2x_gelu", "identity"), "mm_projector_type", "identity"},
      {original("mlp2x_gelu", "mlp99x_gelu"), "mm_projector_type", "mlp99x_gelu"},
      {original("\"mm_resampler_type\": null", "\"mm_resampler_type\": \"perceiver\""),
       "mm_resampler_type", "perceiver"},
      {original("\"mm_hidden_size\": 48", "\"mm_hidden_size\": 50"), "mm_hidden_size", "50"},
      {original("\"mm_vision_select_layer\"", "\"x\""), "mm_vision_select_layer", "nothing"},
      {original("\"mm_use_im_patch_token\": false", "\"s2\": true"), "s2", "true"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(ErrorOf(c.json, kTower), AllOf(HasSubstr("config.json: "), HasSubstr(c.key),
                                               HasSubstr("expected"), HasSubstr(c.found)));
  }
}

TEST(ConfigTest, OnePatchMayBeTheWholeImage) {
  EXPECT_EQ(Parsed(HuggingFace("", "", R"("image_size": 32, "patch_size": 32)")).tile_tokens(), 1);
}

TEST(ConfigTest, TheDtypeStandsInEitherConfiguration) {
  EXPECT_EQ(Parsed(HuggingFace("", R"("dtype": "bfloat16")")).dtype, "bfloat16");
  EXPECT_EQ(Parsed(HuggingFace(R"("torch_dtype": "float32")", R"("dtype": "bfloat16")")).dtype,
            "float32");
  EXPECT_EQ(Parsed(HuggingFace("")).dtype, "");
}

TEST(ConfigTest, WithoutEndTokensOfItsOwnAGenerationConfigKeepsThose) {
  const test::TempDir dir;
  Write(dir.path() + "/config.json", HuggingFace("", R"("eos_token_id": [5, 7])"));
  Write(dir.path() + "/generation_config.json", R"({"max_length": 20})");
  EXPECT_THAT(ReadConfig(dir.path())->text.eos_token_ids, ElementsAre(5, 7));
}

TEST(ConfigTest, AGenerationConfigThatIsALinkToNothingIsAnError) {
  const test::TempDir dir;
  Write(dir.path() + "/config.json", HuggingFace(""));
  std::filesystem::create_symlink("../blobs/no", dir.path() + "/generation_config.json");
  const absl::Status status = ReadConfig(dir.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("generation_config.json"));
}

TEST(ConfigTest, EndTokensOfTheWholeComeBeforeThoseOfTheText) {
  EXPECT_THAT(
      Parsed(HuggingFace(R"("eos_token_id": 9)", R"("eos_token_id": 5)")).text.eos_token_ids,
      ElementsAre(9));
}

TEST(ConfigTest, EndTokensBeyondTheVocabularyAreNeverSaid) {
  EXPECT_THAT(Parsed(HuggingFace("", R"("eos_token_id": [5, 99999])")).text.eos_token_ids,
              ElementsAre(5));
}

TEST(ConfigTest, HostileJsonIsAnError) {
  EXPECT_THAT(ErrorOf("{"), HasSubstr("expected JSON"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(ErrorOf(std::string(100000, '[')), HasSubstr("expected JSON"));
  EXPECT_THAT(ErrorOf(R"({"model_type": "llava", "text_config": []})"), HasSubstr("an object"));
}

TEST(ConfigTest, ReadsDirectories) {
  const test::TempDir dir;
  const std::string model = dir.path() + "/llava-v1.5-7b";
  EXPECT_EQ(ReadConfig(model).status().code(), absl::StatusCode::kNotFound);
  Write(model + "/config.json", kOriginal);
  const auto without = ReadConfig(model + "/");
  EXPECT_EQ(without.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(without.status().message()),
              AllOf(HasSubstr("config.json: mm_vision_tower"), HasSubstr("--vision-tower")));
  Write(dir.path() + "/clip/config.json", kTower);
  Write(model + "/generation_config.json", R"({"eos_token_id": [2, 32]})");
  const auto config = ReadConfig(model + "/", dir.path() + "/clip");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "llava-v1.5-7b");
  EXPECT_EQ(config->vision_tower_dir, dir.path() + "/clip");
  EXPECT_THAT(config->text.eos_token_ids, ElementsAre(2, 32));
}

TEST(ConfigTest, WhatIsWrittenIsReadAgain) {
  LlavaConfig config = Parsed(HuggingFace(
      R"("vision_feature_layer": [-2, 3], "vision_feature_select_strategy": "full",
         "projector_hidden_act": "gelu_pytorch_tanh", "pad_token_id": 10, "dtype": "bfloat16")",
      R"("_name_or_path": "x/y", "num_key_value_heads": 4, "tie_word_embeddings": true,
         "eos_token_id": [2, 5], "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
         "low_freq_factor": 1.0, "high_freq_factor": 4.0})"));
  EXPECT_EQ(Parsed(ConfigJson(config)), config);
  for (const char* type : {R"("llama")", R"("mistral")"}) {
    const LlavaConfig linear = Parsed(absl::StrReplaceAll(
        HuggingFace("", R"("max_position_embeddings": 2048, "sliding_window": 5000,
                           "rope_scaling": {"type": "linear", "factor": 3.0})"),
        {{R"("llama")", type}}));
    EXPECT_EQ(Parsed(ConfigJson(linear)), linear);
  }
  config.projector.depth = 1;
  config.projector.activation = Activation::kGelu;
  EXPECT_EQ(Parsed(ConfigJson(config)), config);
  config.projector.depth = 3;
  const test::TempDir dir;
  ASSERT_TRUE(WriteConfig(config, dir.path()).ok());
  auto read = ReadConfig(dir.path());
  ASSERT_TRUE(read.ok()) << read.status();
  read->name.clear();
  EXPECT_EQ(*read, config);
  EXPECT_FALSE(WriteConfig(config, dir.path() + "/absent").ok());
}

// What other tools quantised in another way is named, not misread.
TEST(ConfigTest, KnowsSomeQuantisationsOnly) {
  const auto of = [](const std::string& settings) {
    return ParseConfig(HuggingFace("\"quantization_config\": " + settings), "");
  };
  for (const std::string method : {"eetq", "bitsandbytes", "fp8", "compressed-tensors"}) {
    const absl::Status status = of("{\"quant_method\": \"" + method + "\", \"bits\": 4}").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("quantization_config"),
                      HasSubstr("weights that \"" + method + "\" quantised")));
  }
  EXPECT_FALSE(of(R"({"quant_method": "llavad", "format": "int2"})").ok());
  EXPECT_FALSE(of(R"({"quant_method": "llavad", "format": "fp8"})").ok());  // never stored
  const auto awq = of(R"({"quant_method": "awq", "group_size": 64})");
  ASSERT_TRUE(awq.ok()) << awq.status();
  EXPECT_EQ(awq->quantization, Quantization::kNone);
  EXPECT_EQ(awq->foreign_codes.value().group, 64);
  EXPECT_FALSE(Parsed(ConfigJson(*awq)).foreign_codes);  // what is written are numbers
  const LlavaConfig inner =
      Parsed(HuggingFace("", R"("quantization_config": {"quant_method": "gptq", "bits": 8})"));
  EXPECT_EQ(inner.foreign_codes.value().bits, 8);
  EXPECT_THAT(ErrorOf(HuggingFace("", R"("quantization_config": {"quant_method": "hqq"})")),
              AllOf(HasSubstr("text_config.quantization_config"), HasSubstr("hqq")));
  EXPECT_THAT(
      ErrorOf(HuggingFace(R"("quantization_config": {"quant_method": "awq", "version": "gemv"})")),
      AllOf(HasSubstr("quantization_config.version"), HasSubstr("gemv")));
  const auto own = of(R"({"quant_method": "llavad", "format": "int4"})");
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->quantization, Quantization::kInt4);
  const auto again = ParseConfig(ConfigJson(*own), "");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->quantization, Quantization::kInt4);
}

}  // namespace
}  // namespace llava::model
