#include "model/config/foreign_codes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/json_reader.h"

namespace llava::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Method = ForeignCodes::Method;

// What is read from the settings, or the error.
absl::StatusOr<ForeignCodes> Read(const std::string& settings) {
  const auto object = ParseJsonObject("{" + settings + "}", "config.json");
  EXPECT_TRUE(object.ok()) << object.status();
  JsonReader reader("config.json", *object);
  ForeignCodes codes = ReadForeignCodes(reader);
  if (!reader.status().ok()) return reader.status();
  return codes;
}

ForeignCodes Good(const std::string& settings) {
  const auto codes = Read(settings);
  EXPECT_TRUE(codes.ok()) << codes.status();
  return codes.ok() ? *codes : ForeignCodes();
}

TEST(ForeignCodesTest, ReadsWhatAutoAwqWrites) {
  const ForeignCodes awq = {.method = Method::kAwq, .bits = 4, .group = 128};
  EXPECT_EQ(Good(R"("quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true,
                    "version": "gemm", "modules_to_not_convert": ["vision_tower"],
                    "backend": "autoawq", "do_fuse": false)"),
            awq);
  EXPECT_EQ(
      Good(R"("quant_method": "awq", "w_bit": 4, "q_group_size": 64, "version": "GEMM")").group,
      64);
  EXPECT_EQ(Good(R"("quant_method": "awq", "group_size": -1)").group, 0);
  EXPECT_EQ(ForeignCodesText(awq), "AWQ, 4 bits, groups of 128");
}

TEST(ForeignCodesTest, ReadsWhatProgramsOfGptqWrite) {
  const std::string gptq = R"("quant_method": "gptq", "bits": 4, "group_size": 128)";
  const ForeignCodes first = {
      .method = Method::kGptq, .bits = 4, .group = 128, .zero_offset = 1, .any_order = false};
  EXPECT_EQ(Good(gptq), first);
  EXPECT_EQ(Good(gptq + R"(, "checkpoint_format": "gptq", "sym": true, "damp_percent": 0.1,
                            "pack_dtype": "int32", "dynamic": {"-:.*down_proj": {}})"),
            first);
  EXPECT_EQ(Good(gptq + R"(, "checkpoint_format": "gptq_v2")").zero_offset, 0);
  EXPECT_EQ(Good(gptq + R"(, "format": "gptq_v2")").zero_offset, 0);
  const ForeignCodes ordered = Good(gptq + R"(, "desc_act": true)");
  EXPECT_TRUE(ordered.any_order);
  EXPECT_THAT(ForeignCodesText(ordered), AllOf(HasSubstr("GPTQ, 4 bits"), HasSubstr("desc_act")));
  const ForeignCodes bytes =
      Good(R"("quant_method": "gptq", "bits": 8, "group_size": -1, "desc_act": true)");
  EXPECT_EQ(bytes.bits, 8);
  EXPECT_EQ(bytes.group, 0);
  EXPECT_FALSE(bytes.any_order);  // there is one group
  EXPECT_EQ(ForeignCodesText(bytes), "GPTQ, 8 bits, one group a row");
}

// Each names the key, what it is and what is supported.
TEST(ForeignCodesTest, RefusesOtherLayouts) {
  struct Case {
    const char* settings;
    const char* key;
    const char* expected;
  };
  constexpr Case kCases[] = {
      {R"("quant_method": "awq", "version": "gemv")", "version", "gemm"},
      {R"("quant_method": "awq", "version": "marlin")", "version", "gemm"},
      {R"("quant_method": "awq", "bits": 8)", "bits", "4"},
      {R"("quant_method": "awq", "w_bit": 3)", "w_bit", "4"},
      {R"("quant_method": "awq", "zero_point": false)", "zero_point", "true"},
      {R"("quant_method": "awq", "backend": "llm-awq")", "backend", "autoawq"},
      {R"("quant_method": "awq", "group_size": 0)", "group_size", "-1, or 16"},
      {R"("quant_method": "awq", "group_size": 1000000)", "group_size", "1024"},
      {R"("quant_method": "gptq", "bits": 2)", "bits", "4 or 8"},
      {R"("quant_method": "gptq", "bits": 3)", "bits", "4 or 8"},
      {R"("quant_method": "gptq", "group_size": "all")", "group_size", "integer"},
      {R"("quant_method": "gptq", "checkpoint_format": "marlin")", "checkpoint_format", "gptq_v2"},
      {R"("quant_method": "gptq", "is_marlin_format": true)", "is_marlin_format", "false"},
      {R"("quant_method": "gptq", "pack_dtype": "int64")", "pack_dtype", "int32"},
      {R"("quant_method": "gptq", "dynamic": {"+:.*mlp": {"bits": 8}})", "dynamic", "-:"},
  };
  for (const Case& one : kCases) {
    const absl::Status status = Read(one.settings).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << one.settings;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(absl::StrCat("config.json: ", one.key)), HasSubstr(one.expected)));
  }
}

}  // namespace
}  // namespace llava::model
