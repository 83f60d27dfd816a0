#include "model/config/decoder_products.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace llava::model {
namespace {

using ::testing::HasSubstr;

TextConfig Text() {
  TextConfig text;
  text.num_layers = 2;
  text.hidden_size = 12;
  text.intermediate_size = 20;
  text.num_heads = 4;
  text.num_kv_heads = 2;
  text.head_dim = 5;
  return text;
}

std::string Misfit(const AdaptedProduct& product) {
  const absl::Status fits = CheckFits({&product, 1}, Text());
  EXPECT_EQ(fits.code(), absl::StatusCode::kFailedPrecondition);
  return std::string(fits.message());
}

TEST(DecoderProductsTest, AnAdapterFitsLayersAndShapes) {
  const std::vector<AdaptedProduct> fitting = {
      {0, "self_attn.q_proj", 20, 12}, {1, "self_attn.k_proj", 10, 12},
      {1, "self_attn.v_proj", 10, 12}, {1, "self_attn.o_proj", 12, 20},
      {0, "mlp.gate_proj", 20, 12},    {0, "mlp.up_proj", 20, 12},
      {1, "mlp.down_proj", 12, 20}};
  EXPECT_TRUE(CheckFits(fitting, Text()).ok());
  EXPECT_THAT(Misfit({2, "mlp.up_proj", 20, 12}), HasSubstr("has 2 layers"));
  EXPECT_THAT(Misfit({1, "mlp.up_proj", 20, 16}),
              HasSubstr("layers.1.mlp.up_proj of [20, 16], the model's is [20, 12]"));
  EXPECT_THAT(Misfit({1, "mlp.up_proj", 16, 12}), HasSubstr("[16, 12]"));
  EXPECT_THAT(Misfit({1, "mlp.side_proj", 20, 12}), HasSubstr("does not have"));
}

TEST(DecoderProductsTest, FusedMatricesAreAdaptedAsAWhole) {
  TextConfig phi3 = Text();
  phi3.model_type = "phi3";
  phi3.fused = true;
  const std::vector<AdaptedProduct> fitting = {{0, "self_attn.qkv_proj", 40, 12},
                                               {1, "self_attn.o_proj", 12, 20},
                                               {1, "mlp.gate_up_proj", 40, 12},
                                               {0, "mlp.down_proj", 12, 20}};
  EXPECT_TRUE(CheckFits(fitting, phi3).ok());
  const auto misfit = [](const AdaptedProduct& product, const TextConfig& text) {
    const absl::Status fits = CheckFits({&product, 1}, text);
    EXPECT_EQ(fits.code(), absl::StatusCode::kFailedPrecondition);
    return std::string(fits.message());
  };
  EXPECT_THAT(misfit({0, "self_attn.q_proj", 20, 12}, phi3),
              HasSubstr("a phi3, does not have: it has self_attn.qkv_proj, self_attn.o_proj"));
  EXPECT_THAT(misfit({0, "mlp.gate_up_proj", 20, 12}, phi3),
              HasSubstr("mlp.gate_up_proj of [20, 12], the model's is [40, 12]"));
  EXPECT_THAT(misfit({0, "self_attn.qkv_proj", 40, 12}, Text()), HasSubstr("a llama"));
}

TEST(DecoderProductsTest, VersionsOfTheSameProductsAreAlike) {
  TextConfig other = Text();
  other.vocab_size += 10;
  other.max_positions *= 2;
  EXPECT_TRUE(CheckSameProducts(Text(), other).ok());
  other.num_layers = 3;
  EXPECT_THAT(std::string(CheckSameProducts(Text(), other).message()), HasSubstr("3"));
  other = Text();
  other.fused = true;
  EXPECT_FALSE(CheckSameProducts(Text(), other).ok());
  other = Text();
  other.intermediate_size = 24;
  EXPECT_THAT(std::string(CheckSameProducts(Text(), other).message()),
              HasSubstr("mlp.gate_proj of [20, 12], this version's is [24, 12]"));
}

}  // namespace
}  // namespace llava::model
