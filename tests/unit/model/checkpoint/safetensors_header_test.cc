#include "model/checkpoint/safetensors_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace llava::model {
namespace {

using testing::HasSubstr;

std::string ErrorOf(const std::string& text) {
  const auto entries = ParseSafetensorsHeader(text);
  EXPECT_TRUE(absl::IsInvalidArgument(entries.status())) << text << ": " << entries.status();
  return std::string(entries.status().message());
}

// A header with one tensor, whose entry has these fields.
std::string Tensor(const std::string& fields) { return "{\"a\":{" + fields + "}}"; }

TEST(SafetensorsHeaderTest, EntriesComeInTheOrderOfTheText) {
  const auto entries = ParseSafetensorsHeader(
      R"( {"b": {"shape": [2, 3], "data_offsets": [8, 32], "dtype": "F32"},
           "__metadata__": {"format": "pt", "dtype": "no tensor's"},
           "a": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}} )"
      "\n\t");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].name, "b");
  EXPECT_EQ((*entries)[0].dtype, DType::kFloat32);
  EXPECT_EQ((*entries)[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ((*entries)[0].begin, 8u);
  EXPECT_EQ((*entries)[0].end, 32u);
  EXPECT_EQ((*entries)[1].name, "a");
  EXPECT_EQ((*entries)[1].dtype, DType::kInt64);
  EXPECT_TRUE((*entries)[1].shape.empty());
  EXPECT_EQ((*entries)[1].end, 8u);
}

TEST(SafetensorsHeaderTest, OneNameTwiceIsSeen) {
  const std::string entry = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  const auto entries = ParseSafetensorsHeader("{" + entry + "," + entry + "}");
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ(entries->size(), 2u);
}

TEST(SafetensorsHeaderTest, NamesMayBeLongAndEscaped) {
  const std::string name(4000, 'n');
  const auto entries = ParseSafetensorsHeader(
      "{\"" + name + R"(\u00e9":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})");
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ(entries->front().name, name + "\xc3\xa9");
}

TEST(SafetensorsHeaderTest, EachFieldOnceAndNoOther) {
  const std::string lacks = "tensor \"a\" lacks one of dtype, shape, data_offsets";
  EXPECT_THAT(ErrorOf(Tensor(R"("shape":[1],"data_offsets":[0,1])")), HasSubstr(lacks));
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":"U8","data_offsets":[0,1])")), HasSubstr(lacks));
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":"U8","shape":[1])")), HasSubstr(lacks));
  EXPECT_THAT(ErrorOf(Tensor("")), HasSubstr(lacks));
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1])")),
              HasSubstr("shape is given twice"));
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1])")),
              HasSubstr("dtype is given twice"));
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":"U8","strides":[1])")),
              HasSubstr("unknown field \"strides\""));
}

TEST(SafetensorsHeaderTest, WhatStandsInAnEntry) {
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":"F128")")), HasSubstr("unknown dtype \"F128\""));
  EXPECT_THAT(ErrorOf(Tensor(R"("data_offsets":[0])")), HasSubstr("1 numbers, expected 2"));
  EXPECT_THAT(ErrorOf(Tensor(R"("data_offsets":[0,1,2])")), HasSubstr("3 numbers, expected 2"));
  EXPECT_THAT(ErrorOf(Tensor(R"("shape":[2,-1])")), HasSubstr("shape has the negative number -1"));
  EXPECT_THAT(ErrorOf(Tensor(R"("data_offsets":[-2,1])")),
              HasSubstr("data_offsets has the negative number -2"));
  EXPECT_THAT(ErrorOf(Tensor(R"("shape":[18446744073709551615])")), HasSubstr("is too large"));
  EXPECT_THAT(ErrorOf(Tensor(R"("shape":[1.5])")), HasSubstr("has a fraction"));
  EXPECT_THAT(ErrorOf(Tensor(R"("shape":[[1]])")), HasSubstr("has a list where"));
  EXPECT_THAT(ErrorOf(Tensor(R"("shape":{"a":1})")), HasSubstr("has an object where"));
  EXPECT_THAT(ErrorOf(Tensor(R"("shape":"1")")), HasSubstr("has a string where"));
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":1)")), HasSubstr("has a number where"));
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":["U8"])")), HasSubstr("has a list where"));
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":true)")), HasSubstr("has true or false where"));
  EXPECT_THAT(ErrorOf(Tensor(R"("dtype":null)")), HasSubstr("has null where"));
  EXPECT_THAT(ErrorOf(R"({"a":1})"), HasSubstr("has a number where"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__":{"format":["pt"]}})"), HasSubstr("has a list where"));
}

TEST(SafetensorsHeaderTest, ShapesHaveAtMost16Dimensions) {
  const auto with = [](const std::string& shape) {
    return Tensor(R"("dtype":"U8","data_offsets":[0,1],"shape":[)" + shape + "]");
  };
  std::string ones = "1";
  for (int i = 1; i < 16; ++i) ones += ",1";
  EXPECT_TRUE(ParseSafetensorsHeader(with(ones)).ok());
  EXPECT_THAT(ErrorOf(with(ones + ",1")), HasSubstr("not valid JSON"));
}

TEST(SafetensorsHeaderTest, TheHeaderIsOneObjectAndNothingElse) {
  EXPECT_TRUE(ParseSafetensorsHeader("{}").value().empty());
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("the header is a list, expected an object"));
  EXPECT_THAT(ErrorOf("1"), HasSubstr("the header is a number, expected an object"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("{\"a\":"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("{} {}"), HasSubstr("other text after its JSON"));
  EXPECT_THAT(ErrorOf(std::string("{}\0", 3)), HasSubstr("other text after its JSON"));
}

}  // namespace
}  // namespace llava::model
