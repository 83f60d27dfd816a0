// Matrices of codes among the tensors of a checkpoint: what fits together, and what is refused.
#include "model/checkpoint/coded_weight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/coded_fixture.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using test::TempDir;
using testing::HasSubstr;

using Method = ForeignCodes::Method;

constexpr char kModule[] = "model.language_model.layers.0.self_attn.q_proj";
constexpr char kName[] = "language_model.model.layers.0.self_attn.q_proj.weight";
constexpr ForeignCodes kAwq = {.method = Method::kAwq, .bits = 4, .group = 32};
constexpr ForeignCodes kGptq = {
    .method = Method::kGptq, .bits = 4, .group = 32, .zero_offset = 1, .any_order = true};

FixtureTensors Packed(const ForeignCodes& codes) {
  Rng rng(1);
  return PackedCodes(RandomCodes(codes, /*out=*/48, /*in=*/64, /*symmetric=*/false, rng), kModule);
}

class CodedWeightTest : public testing::Test {
 protected:
  absl::StatusOr<Checkpoint> Open(const FixtureTensors& tensors,
                                  const std::optional<ForeignCodes>& codes) {
    WriteTensors(absl::StrCat(dir_.path(), "/model.safetensors"), tensors);
    return Checkpoint::Open(dir_.path(), "", codes);
  }

  void ExpectError(const FixtureTensors& tensors, const std::optional<ForeignCodes>& codes,
                   absl::StatusCode code, const std::vector<std::string>& parts) {
    const absl::Status status = Open(tensors, codes).status();
    EXPECT_EQ(status.code(), code) << status;
    for (const std::string& part : parts) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(part));
    }
  }

  TempDir dir_;
};

TEST_F(CodedWeightTest, IsATensorOfTheShapeOfItsNumbers) {
  for (const ForeignCodes& codes : {kAwq, kGptq}) {
    const FixtureTensors packed = Packed(codes);
    const auto checkpoint = Open(packed, codes);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    ASSERT_EQ(checkpoint->tensors().size(), 1u);
    const CheckpointTensor& tensor = checkpoint->tensors().at(kName);
    EXPECT_EQ(tensor.stored.shape, (std::vector<std::int64_t>{48, 64}));
    EXPECT_EQ(tensor.key, absl::StrCat(kModule, ".qweight"));
    ASSERT_NE(tensor.coded, nullptr);
    EXPECT_EQ(tensor.coded->groups, 2);
    std::size_t bytes = 0;
    for (const auto& [key, part] : packed) bytes += part.bytes.size();
    EXPECT_EQ(StoredBytes(tensor), bytes);
  }
}

TEST_F(CodedWeightTest, KnowsItsParts) {
  EXPECT_EQ(CodePartOf("a.b.qweight")->module, "a.b");
  EXPECT_EQ(CodePartOf("a.b.g_idx")->name, "g_idx");
  EXPECT_FALSE(CodePartOf("a.b.weight"));
  EXPECT_FALSE(CodePartOf("qweight"));
}

TEST_F(CodedWeightTest, WithoutSettingsItIsRefused) {
  ExpectError(Packed(kAwq), std::nullopt, absl::StatusCode::kInvalidArgument,
              {"model.safetensors", kModule, "quantization_config"});
}

TEST_F(CodedWeightTest, BothCodesAndNumbersAreRefused) {
  FixtureTensors tensors = Packed(kAwq);
  tensors[kName] = {.shape = {1}, .bytes = "abcd"};
  ExpectError(tensors, kAwq, absl::StatusCode::kInvalidArgument, {kModule, kName, "same tensor"});
}

TEST_F(CodedWeightTest, AMissingPartIsNamed) {
  for (const char* part : {"qweight", "qzeros", "scales", "g_idx"}) {
    FixtureTensors tensors = Packed(kGptq);
    tensors.erase(absl::StrCat(kModule, ".", part));
    ExpectError(tensors, kGptq, absl::StatusCode::kNotFound,
                {kModule, absl::StrCat("without the ", part)});
  }
  // Neighbours are of a group where the order is not said to be another.
  FixtureTensors tensors = Packed(kGptq);
  tensors.erase(absl::StrCat(kModule, ".g_idx"));
  ForeignCodes neighbours = kGptq;
  neighbours.any_order = false;
  EXPECT_TRUE(Open(tensors, neighbours).ok());
}

// Shapes and dtypes that do not fit each other: tensor, what it has and what was expected.
TEST_F(CodedWeightTest, WhatDoesNotFitIsNamed) {
  struct Case {
    ForeignCodes codes;
    const char* part;
    FixtureTensor tensor;
    const char* found;
    const char* expected;
  };
  const auto zeros = [](DType dtype, std::vector<std::int64_t> shape) {
    const std::size_t bytes = CheckedByteSize(shape, ElementSize(dtype)).value();
    return FixtureTensor{
        .dtype = dtype, .shape = std::move(shape), .bytes = std::string(bytes, '\0')};
  };
  const std::int64_t huge = std::int64_t{1} << 60;
  const Case cases[] = {
      {kAwq, "qweight", zeros(DType::kInt64, {64, 6}), "I64", "I32"},
      {kAwq, "qweight", zeros(DType::kInt32, {64 * 6}), "[384]", "a matrix"},
      {kAwq, "qweight", zeros(DType::kInt32, {64, 6, 1}), "[64, 6, 1]", "a matrix"},
      {kAwq, "qweight", zeros(DType::kInt32, {0, 6}), "[0, 6]", "sides of 1"},
      {kAwq, "qweight", zeros(DType::kInt32, {huge, 0}), "0]", "sides of 1"},
      {kAwq, "qweight", zeros(DType::kInt32, {40, 6}), "[40, 6]", "multiple of 32 inputs"},
      {kAwq, "qweight", zeros(DType::kInt32, {64, 12}), "[2, 6]", "[2, 12]"},
      {kAwq, "qzeros", zeros(DType::kFloat32, {2, 6}), "F32", "I32"},
      {kAwq, "qzeros", zeros(DType::kInt32, {2, 48}), "[2, 48]", "[2, 6]"},
      {kAwq, "qzeros", zeros(DType::kInt32, {3, 6}), "[3, 6]", "[2, 6]"},
      {kAwq, "scales", zeros(DType::kInt8, {2, 48}), "I8", "F16 or BF16 or F32"},
      {kAwq, "scales", zeros(DType::kFloat16, {1, 48}), "[1, 48]", "[2, 48]"},
      {kAwq, "g_idx", zeros(DType::kInt32, {64}), "g_idx", "AWQ has none"},
      {kGptq, "qweight", zeros(DType::kInt32, {8, 44}), "[8, 44]", "multiple of 8 outputs"},
      {kGptq, "qweight", zeros(DType::kInt32, {64, 6}), "[64, 6]", "multiple of 8 outputs"},
      {kGptq, "qweight", zeros(DType::kInt32, {16, 48}), "[2, 6]", "[4, 6]"},
      {kGptq, "qweight", zeros(DType::kInt32, {huge, 0}), "0]", "sides of 1"},
      {kGptq, "scales", zeros(DType::kFloat16, {48, 2}), "[48, 2]", "[2, 48]"},
      {kGptq, "g_idx", zeros(DType::kInt64, {64}), "I64", "I32"},
      {kGptq, "g_idx", zeros(DType::kInt32, {63}), "[63]", "[64]"},
  };
  for (const Case& one : cases) {
    FixtureTensors tensors = Packed(one.codes);
    tensors[absl::StrCat(kModule, ".", one.part)] = one.tensor;
    SCOPED_TRACE(absl::StrCat(one.part, " ", ShapeText(one.tensor.shape)));
    ExpectError(tensors, one.codes, absl::StatusCode::kInvalidArgument,
                {kModule, one.found, one.expected});
  }
}

}  // namespace
}  // namespace llava::model
