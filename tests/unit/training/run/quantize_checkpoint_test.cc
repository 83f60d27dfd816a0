#include "training/run/quantize_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/manifest.h"
#include "model/tensors/tensor_files.h"
#include "tests/support/temp_dir.h"
#include "training/run/compare_models.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

constexpr char kGolden[] = "tests/golden/data/checkpoint";
constexpr char kImages[] = "tests/golden/data/images";

TEST(QuantizeCheckpoint, WritesAVersionOfItsOwn) {
  const test::TempDir dir;
  // The golden checkpoint as a version with probes and scores.
  const std::string source = absl::StrCat(dir.path(), "/source");
  std::filesystem::copy(kGolden, source, std::filesystem::copy_options::recursive);
  std::filesystem::remove(source + "/manifest.json");
  model::Manifest manifest;
  manifest.files = *model::DescribeFiles(source);
  manifest.name = "golden";
  manifest.step = 7;
  manifest.evaluation = {{"total", 0.5}};
  const std::string json = model::ManifestJson(manifest);
  std::ofstream(source + "/manifest.json") << json;

  const std::string out = absl::StrCat(dir.path(), "/int4");
  const auto version = QuantizeCheckpoint(source, "int4", out);
  ASSERT_TRUE(version.ok()) << version.status();
  const auto written = model::ReadManifest(out);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->version, *version);
  EXPECT_EQ(written->manifest.parent, model::VersionOf(json));
  EXPECT_EQ(written->manifest.name, "golden");
  EXPECT_EQ(written->manifest.step, 7);
  EXPECT_TRUE(written->manifest.evaluation.empty());
  EXPECT_TRUE(model::VerifyFiles(written->manifest, out).ok());
}

// The golden checkpoint with channels that are thirty times as large before a product and their
// weights as much smaller: it answers as before, but for rounding.
void WriteWithOutliers(const std::string& folder) {
  std::filesystem::copy(kGolden, folder, std::filesystem::copy_options::recursive);
  auto tensors = model::LoadTensors(std::string(kGolden) + "/model.safetensors");
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  std::map<std::string, at::Tensor> by_name;
  for (auto& [name, tensor] : *tensors) by_name[name] = tensor = tensor.to(at::kFloat);
  for (const std::string layer : {"0.", "1."}) {
    const auto weight = [&](const char* name) {
      return by_name.at(absl::StrCat("language_model.model.layers.", layer, name, ".weight"));
    };
    for (const std::int64_t channel : {3, 17, 40}) {
      weight("input_layernorm")[channel] *= 30;
      weight("post_attention_layernorm")[channel] *= 30;
      weight("mlp.up_proj")[channel] *= 30;
      weight("mlp.down_proj").select(1, channel) /= 30;
      for (const char* product : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                  "mlp.gate_proj", "mlp.up_proj"}) {
        weight(product).select(1, channel) /= 30;
      }
    }
  }
  const absl::Status saved = model::SaveTensors(folder + "/model.safetensors", *tensors);
  ASSERT_TRUE(saved.ok()) << saved;
}

TEST(QuantizeCheckpoint, WhatIsCalibratedAnswersMoreLikeTheOriginal) {
  const test::TempDir dir;
  const std::string source = dir.path() + "/source", data = dir.path() + "/rows.json";
  WriteWithOutliers(source);
  const auto row = [](const char* image, const char* question) {
    return absl::StrCat(R"({"id": "1", "image": ")", image,
                        R"(", "conversations": [{"from": "human", "value": "<image>\n)", question,
                        R"("}, {"from": "gpt", "value": "It is a picture."}]})");
  };
  std::ofstream(data) << "[" << row("landscape.png", "What is it?") << ", "
                      << row("rgba.png", "Say something.") << "]";
  const std::string asked = dir.path() + "/asked.json";  // what it was not calibrated with
  std::ofstream(asked) << "[" << row("gray.png", "And this?") << ", "
                       << row("landscape.png", "How many are there in the picture?") << "]";
  const CalibrationData rows = {.data = data, .images = kImages, .rows = 2};
  const std::string plain = dir.path() + "/plain", calibrated = dir.path() + "/calibrated";
  ASSERT_TRUE(QuantizeCheckpoint(source, "int4", plain).ok());
  const auto version = QuantizeCheckpoint(source, "int4", calibrated, rows);
  ASSERT_TRUE(version.ok()) << version.status();
  const auto divergence = [&](const std::string& folder) {
    const auto comparison = CompareModels({.a = {.checkpoint = source},
                                           .b = {.checkpoint = folder},
                                           .data = data,
                                           .images = kImages});
    EXPECT_TRUE(comparison.ok()) << comparison.status();
    return comparison.ok() ? comparison->values.at("kl") : 0.0;
  };
  const double before = divergence(plain), after = divergence(calibrated);
  EXPECT_GT(after, 0);
  EXPECT_LT(after, 0.5 * before);
}

TEST(QuantizeCheckpoint, CalibratesFourBitsFromQuestionsOnly) {
  const test::TempDir dir;
  const std::string out = dir.path() + "/out";
  const CalibrationData none = {.data = dir.path() + "/none.json", .images = kImages};
  EXPECT_EQ(QuantizeCheckpoint(kGolden, "int4", out, none).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(QuantizeCheckpoint(kGolden, "int8", out, none).status().message()),
              HasSubstr("int4"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(QuantizeCheckpoint, LeavesNothingBehindWhenItFails) {
  const test::TempDir dir;
  const std::string out = absl::StrCat(dir.path(), "/out");
  EXPECT_THAT(std::string(QuantizeCheckpoint(kGolden, "int2", out).status().message()),
              HasSubstr("int2"));
  EXPECT_FALSE(QuantizeCheckpoint(absl::StrCat(dir.path(), "/none"), "int8", out).ok());
  EXPECT_FALSE(std::filesystem::exists(out));
  std::filesystem::create_directory(out);
  EXPECT_EQ(QuantizeCheckpoint(kGolden, "int8", out).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace llava::training
