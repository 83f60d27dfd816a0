#include "training/run/compare_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

constexpr char kGolden[] = "tests/golden/data/checkpoint";

class CompareModelsTest : public testing::Test {
 protected:
  CompareModelsTest() {
    request_.a.checkpoint = request_.b.checkpoint = kGolden;
    request_.data = absl::StrCat(dir_.path(), "/rows.jsonl");
    request_.images = "tests/golden/data/images";
    std::ofstream rows(request_.data);
    for (int i = 0; i < 4; ++i) {
      rows << R"({"id": ")" << i << R"(", "image": "landscape.png", "conversations": [)"
           << R"({"from": "human", "value": "<image>\nQuestion )" << i << R"(?"},)"
           << R"({"from": "gpt", "value": "No."}]})" << "\n";
    }
  }

  const test::TempDir dir_;
  ComparisonRequest request_;
};

TEST_F(CompareModelsTest, AModelIsLikeItself) {
  const auto comparison = CompareModels(request_);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_EQ(comparison->questions, 4);
  EXPECT_GE(comparison->tokens, 4);
  EXPECT_EQ(comparison->values.at("top1"), 1);
  EXPECT_EQ(comparison->values.at("same"), 1);
  EXPECT_EQ(comparison->values.at("kl"), 0);
  EXPECT_GT(comparison->values.at("perplexity_a"), 1);
  EXPECT_EQ(comparison->values.at("perplexity_a"), comparison->values.at("perplexity_b"));
  EXPECT_EQ(comparison->intervals.at("top1").low, 1);
}

TEST_F(CompareModelsTest, Fp8IsMeasuredWithoutAGpu) {
  request_.b.weights = "bfloat16";
  const auto bfloat16 = CompareModels(request_);
  ASSERT_TRUE(bfloat16.ok()) << bfloat16.status();
  request_.b.weights = "fp8";
  const auto fp8 = CompareModels(request_);
  ASSERT_TRUE(fp8.ok()) << fp8.status();
  EXPECT_GT(fp8->values.at("kl"), bfloat16->values.at("kl"));
  EXPECT_LT(fp8->values.at("kl"), 1);
}

TEST_F(CompareModelsTest, FewerBitsAreFartherAway) {
  double last = 0;
  for (const char* weights : {"bfloat16", "int8", "int4"}) {
    request_.b.weights = weights;
    const auto comparison = CompareModels(request_);
    ASSERT_TRUE(comparison.ok()) << comparison.status();
    const double kl = comparison->values.at("kl");
    EXPECT_GT(kl, last) << weights;
    EXPECT_LE(comparison->intervals.at("kl").low, kl);
    EXPECT_GE(comparison->intervals.at("kl").high, kl);
    last = kl;
    EXPECT_THAT(ComparisonJson(request_, *comparison), HasSubstr(weights));
    EXPECT_THAT(ComparisonTable(*comparison), HasSubstr("4 questions"));
  }
}

TEST_F(CompareModelsTest, AKvCacheOfCodesIsALittleAway) {
  request_.b.kv_cache = "int8";
  const auto comparison = CompareModels(request_);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_GT(comparison->values.at("kl"), 0);
  EXPECT_LT(comparison->values.at("kl"), 1e-3);
  EXPECT_THAT(ComparisonJson(request_, *comparison), HasSubstr(R"("kv_cache":"int8")"));
}

TEST_F(CompareModelsTest, AKvCacheOfFp8IsFartherAwayThanOneOfCodes) {
  request_.b.kv_cache = "int8";
  const auto codes = CompareModels(request_);
  request_.b.kv_cache = "fp8";
  const auto comparison = CompareModels(request_);
  ASSERT_TRUE(codes.ok() && comparison.ok()) << codes.status() << comparison.status();
  EXPECT_GT(comparison->values.at("kl"), codes->values.at("kl"));
  EXPECT_THAT(ComparisonJson(request_, *comparison), HasSubstr(R"("kv_cache":"fp8")"));
}

TEST_F(CompareModelsTest, SaysWhatIsWrong) {
  request_.b.kv_cache = "int2";
  EXPECT_THAT(std::string(CompareModels(request_).status().message()), HasSubstr("int2"));
  request_.b.kv_cache = "auto";
  request_.b.weights = "int2";
  EXPECT_THAT(std::string(CompareModels(request_).status().message()), HasSubstr("int2"));
  request_.b.weights = "int8";
  request_.b.checkpoint = absl::StrCat(dir_.path(), "/none");
  EXPECT_FALSE(CompareModels(request_).ok());
  request_.data = absl::StrCat(dir_.path(), "/empty.jsonl");
  std::ofstream(request_.data).flush();
  EXPECT_FALSE(CompareModels(request_).ok());
}

}  // namespace
}  // namespace llava::training
