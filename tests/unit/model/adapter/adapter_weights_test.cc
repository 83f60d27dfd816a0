#include "model/adapter/adapter_weights.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/tensors/tensor_files.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kAny = std::int64_t{1} << 40;
constexpr char kLayer[] = "base_model.model.model.language_model.layers.1.";

class AdapterWeightsTest : public ::testing::Test {
 protected:
  AdapterWeightsTest() {
    Configure(R"("target_modules": ["q_proj", "up_proj"], "exclude_modules": ".*layers.0.*",
                 "r": 2, "lora_alpha": 4)");
    for (const char* module : {"self_attn.q_proj", "mlp.up_proj"}) {
      tensors_[Name(module, "A")] = at::full({2, 6}, 0.5);
      tensors_[Name(module, "B")] = at::full({8, 2}, 0.25).to(at::kBFloat16);
    }
  }

  static std::string Name(const std::string& module, const std::string& side) {
    return absl::StrCat(kLayer, module, ".lora_", side, ".weight");
  }
  void Configure(const std::string& settings) {
    std::ofstream(folder_.path() + "/adapter_config.json")
        << R"({"peft_type": "LORA", "base_model_name_or_path": "base", )" << settings << "}";
  }
  absl::StatusOr<AdapterWeights> Read(std::int64_t max_bytes = kAny) {
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : tensors_) named.push_back({name, tensor});
    EXPECT_TRUE(SaveTensors(folder_.path() + "/adapter_model.safetensors", named).ok());
    return ReadAdapter(folder_.path(), max_bytes);
  }
  std::string Refusal(absl::StatusCode code) {
    const auto weights = Read();
    EXPECT_EQ(weights.status().code(), code) << weights.status();
    return std::string(weights.status().message());
  }

  test::TempDir folder_;
  std::map<std::string, at::Tensor> tensors_;
};

TEST_F(AdapterWeightsTest, AreInFp32WithTheScaleInB) {
  const auto weights = Read();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->base, "base");
  EXPECT_EQ(weights->rank, 2);
  EXPECT_EQ(weights->bytes, 2 * 4 * (2 * 6 + 8 * 2));
  ASSERT_EQ(weights->products.size(), 2u);
  const AdaptedWeights& q = weights->products[0];
  EXPECT_EQ(q.product.layer, 1);
  EXPECT_EQ(q.product.name, "self_attn.q_proj");
  EXPECT_EQ(q.product.out, 8);
  EXPECT_EQ(q.product.in, 6);
  EXPECT_EQ(q.b_OR.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(q.a_RI, at::full({2, 6}, 0.5)));
  EXPECT_TRUE(at::allclose(q.b_OR, at::full({8, 2}, 0.5)));
  EXPECT_EQ(weights->adapted()[1].name, "mlp.up_proj");
}

TEST_F(AdapterWeightsTest, TheDigestIsOfWhatIsComputed) {
  const Digest digest = Read()->digest;
  EXPECT_EQ(Read()->digest, digest);
  tensors_[Name("mlp.up_proj", "A")][1][3] = 0.75;
  EXPECT_NE(Read()->digest, digest);
  tensors_[Name("mlp.up_proj", "A")][1][3] = 0.5;
  Configure(R"("target_modules": ["q_proj", "up_proj"], "exclude_modules": ".*layers.0.*",
               "r": 2, "lora_alpha": 5)");
  EXPECT_NE(Read()->digest, digest) << "another scale";
}

TEST_F(AdapterWeightsTest, NamesOfOtherLayoutsAreTheSame) {
  const Digest digest = Read()->digest;
  std::map<std::string, at::Tensor> older;
  for (const auto& [name, tensor] : tensors_) {
    const std::string rest = name.substr(std::string(kLayer).size());
    older[absl::StrCat("base_model.model.language_model.model.layers.1.", rest)] = tensor;
  }
  tensors_ = older;
  const auto weights = Read();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->digest, digest);
}

TEST_F(AdapterWeightsTest, WhatDoesNotFitTheConfigurationIsRefused) {
  const auto whole = tensors_;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  tensors_.erase(Name("mlp.up_proj", "B"));
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("only one of"));
  tensors_.erase(Name("mlp.up_proj", "A"));
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("target_modules"));
  tensors_ = whole;
  tensors_[Name("mlp.down_proj", "A")] = at::ones({2, 8});
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("down_proj"));
  tensors_ = whole;
  tensors_[Name("mlp.up_proj", "A")] = at::ones({3, 6});
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("expected the rank 2"));
  tensors_[Name("mlp.up_proj", "A")] = at::ones({2, 3, 2});
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("expected a matrix"));
  tensors_[Name("mlp.up_proj", "A")] = at::ones({2, 6}, at::kInt);
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("of type Int, expected Half, BFloat16 or Float"));
  tensors_ = {};
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("no tensor"));
}

TEST_F(AdapterWeightsTest, MagnitudesGoWithUseDora) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const Digest digest = Read()->digest;
  const std::string q = absl::StrCat(kLayer, "self_attn.q_proj.lora_magnitude_vector");
  const std::string up = absl::StrCat(kLayer, "mlp.up_proj.lora_magnitude_vector");
  tensors_[q] = at::full({8}, 3.0);
  EXPECT_THAT(Refusal(absl::StatusCode::kUnimplemented), HasSubstr("with use_dora"));
  Configure(R"("target_modules": ["q_proj", "up_proj"], "exclude_modules": ".*layers.0.*",
               "r": 2, "lora_alpha": 4, "use_dora": true)");
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("mlp.up_proj has nothing as .lora_magnitude_vector"));
  tensors_[up] = at::full({7}, 2.0).to(at::kBFloat16);
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("has [7] as .lora_magnitude_vector, expected [8]"));
  tensors_[up] = at::full({8, 1}, 2.0);
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("expected a vector"));
  tensors_[up] = at::full({8}, 2.0).to(at::kBFloat16);
  const auto weights = Read();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(weights->dora);
  EXPECT_TRUE(at::allclose(weights->products[1].magnitude_O, at::full({8}, 2.0)));
  EXPECT_EQ(weights->bytes, 2 * 4 * (2 * 6 + 8 * 2 + 8));
  EXPECT_NE(weights->digest, digest);
  tensors_[q][5] = 4.0;
  EXPECT_NE(Read()->digest, weights->digest);
}

TEST_F(AdapterWeightsTest, FusedMatricesAreThoseOfOneKindOfDecoder) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  Configure(R"("target_modules": "all-linear", "exclude_modules": ".*layers.0.*", "r": 2)");
  tensors_.clear();
  const auto add = [&](const char* module) {
    tensors_[Name(module, "A")] = at::full({2, 6}, 0.5);
    tensors_[Name(module, "B")] = at::full({8, 2}, 0.25);
  };
  for (const char* module : {"self_attn.o_proj", "mlp.down_proj"}) add(module);
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("q_proj are missing"));
  add("self_attn.qkv_proj");
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("gate_up_proj are missing"));
  add("mlp.gate_up_proj");
  const auto fused = Read();
  ASSERT_TRUE(fused.ok()) << fused.status();
  ASSERT_EQ(fused->products.size(), 4u);
  EXPECT_EQ(fused->products[2].product.name, "self_attn.qkv_proj");
  add("self_attn.q_proj");
  EXPECT_THAT(Refusal(kInvalid), HasSubstr("no product of a decoder that has the others"));
}

TEST_F(AdapterWeightsTest, OtherPartsOfTheModelAreRefused) {
  const auto whole = tensors_;
  for (const char* name :
       {"base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.multi_modal_projector.linear_1.lora_A.weight",
        "base_model.model.model.language_model.embed_tokens.lora_embedding_A",
        "base_model.model.model.language_model.layers.0.self_attn.q_proj.weight"}) {
    tensors_ = whole;
    tensors_[name] = at::ones({2, 6});
    EXPECT_THAT(Refusal(absl::StatusCode::kUnimplemented), HasSubstr(name));
  }
}

TEST_F(AdapterWeightsTest, NumbersAreFiniteAndNotTooMany) {
  EXPECT_EQ(Read(100).status().code(), absl::StatusCode::kResourceExhausted);
  tensors_[Name("mlp.up_proj", "A")][1][3] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(Refusal(absl::StatusCode::kDataLoss), HasSubstr("up_proj"));
  EXPECT_EQ(ReadAdapter(folder_.path() + "/nowhere", kAny).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::model
