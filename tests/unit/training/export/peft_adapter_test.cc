#include "training/export/peft_adapter.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>

#include <map>
#include <regex>

#include "base/json_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tensors/tensor_files.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

PeftAdapter Adapter() {
  PeftAdapter adapter;
  adapter.base = "/models/base";
  adapter.options.rank = 2;
  adapter.options.alpha = 8;
  adapter.options.dropout = 0.25;
  adapter.options.targets = {"q_proj", "down_proj"};
  const std::string layer = "language_model.model.layers.0.self_attn.q_proj";
  adapter.adapters = {{layer + ".lora_A.weight", at::full({2, 6}, 1.0)},
                      {layer + ".lora_B.weight", at::full({4, 2}, 2.0)}};
  return adapter;
}

TEST(PeftAdapterTest, WritesWhatPeftReads) {
  const test::TempDir dir;
  const std::string folder = dir.path() + "/adapter";
  PeftAdapter adapter = Adapter();
  adapter.projector = {{"multi_modal_projector.linear_1.bias", at::full({3}, 3.0)}};
  ASSERT_TRUE(WritePeftAdapter(adapter, folder).ok());
  const auto config = ReadJsonObject(folder + "/adapter_config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->at("peft_type"), "LORA");
  EXPECT_EQ(config->at("base_model_name_or_path"), "/models/base");
  EXPECT_EQ(config->at("r"), 2);
  EXPECT_EQ(config->at("lora_alpha"), 8.0);
  EXPECT_EQ(config->at("lora_dropout"), 0.25);
  EXPECT_EQ(config->at("use_dora"), false);
  EXPECT_EQ(config->at("modules_to_save").at(0), "multi_modal_projector");
  const auto tensors = model::LoadTensors(folder + "/adapter_model.safetensors");
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  std::map<std::string, at::Tensor> by_name;
  for (const auto& [name, tensor] : *tensors) by_name[name] = tensor;
  const std::string wrapped = "base_model.model.model.";
  const std::string layer = wrapped + "language_model.layers.0.self_attn.q_proj";
  ASSERT_EQ(by_name.size(), 3u);
  EXPECT_TRUE(at::equal(by_name.at(layer + ".lora_A.weight"), at::full({2, 6}, 1.0)));
  EXPECT_TRUE(at::equal(by_name.at(layer + ".lora_B.weight"), at::full({4, 2}, 2.0)));
  EXPECT_TRUE(
      at::equal(by_name.at(wrapped + "multi_modal_projector.linear_1.bias"), at::full({3}, 3.0)));
}

// PEFT matches the whole name of a module.
TEST(PeftAdapterTest, TheTargetsAreTheDecodersAlone) {
  const test::TempDir dir;
  ASSERT_TRUE(WritePeftAdapter(Adapter(), dir.path() + "/adapter").ok());
  const auto config = ReadJsonObject(dir.path() + "/adapter/adapter_config.json");
  const std::regex targets(std::string(config->at("target_modules").as_string()));
  const auto meets = [&](const std::string& name) { return std::regex_match(name, targets); };
  EXPECT_TRUE(meets("model.language_model.layers.3.self_attn.q_proj"));
  EXPECT_TRUE(meets("language_model.model.layers.3.mlp.down_proj"));
  EXPECT_FALSE(meets("model.language_model.layers.3.self_attn.k_proj"));
  EXPECT_FALSE(meets("model.vision_tower.encoder.layers.3.self_attn.q_proj"));
  EXPECT_TRUE(config->at("modules_to_save").is_null());
}

TEST(PeftAdapterTest, MagnitudesHavePeftsName) {
  const test::TempDir dir;
  const std::string folder = dir.path() + "/adapter";
  PeftAdapter adapter = Adapter();
  adapter.options.use_dora = true;
  const std::string layer = "language_model.model.layers.0.self_attn.q_proj";
  adapter.adapters.push_back({layer + ".lora_magnitude_vector", at::full({4}, 5.0)});
  ASSERT_TRUE(WritePeftAdapter(adapter, folder).ok());
  EXPECT_EQ(ReadJsonObject(folder + "/adapter_config.json")->at("use_dora"), true);
  const auto tensors = model::LoadTensors(folder + "/adapter_model.safetensors");
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ(tensors->back().name,
            "base_model.model.model.language_model.layers.0.self_attn."
            "q_proj.lora_magnitude_vector");
}

TEST(PeftAdapterTest, NothingIsWrittenOver) {
  const test::TempDir dir;
  ASSERT_TRUE(WritePeftAdapter(Adapter(), dir.path() + "/adapter").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(WritePeftAdapter(Adapter(), dir.path() + "/adapter")));
}

TEST(PeftAdapterTest, OtherWeightsAreNamed) {
  const test::TempDir dir;
  PeftAdapter adapter = Adapter();
  adapter.adapters.push_back({"vision_tower.x.lora_A.weight", at::full({1}, 1.0)});
  const absl::Status status = WritePeftAdapter(adapter, dir.path() + "/adapter");
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("vision_tower.x"));
}

}  // namespace
}  // namespace llava::training
