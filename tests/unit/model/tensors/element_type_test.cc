#include "model/tensors/element_type.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llava::model {
namespace {

using ::testing::HasSubstr;

TEST(ElementTypeTest, EachIsTheOthersInverseAndHasTheSameSize) {
  for (const DType dtype :
       {DType::kBool, DType::kUint8, DType::kInt8, DType::kInt16, DType::kFloat16, DType::kBfloat16,
        DType::kInt32, DType::kFloat32, DType::kInt64, DType::kFloat64}) {
    const auto type = ScalarTypeOf(dtype);
    ASSERT_TRUE(type.ok()) << DTypeName(dtype);
    EXPECT_EQ(c10::elementSize(*type), static_cast<std::size_t>(ElementSize(dtype)));
    const auto back = DTypeOf(*type);
    ASSERT_TRUE(back.ok()) << DTypeName(dtype);
    EXPECT_EQ(*back, dtype);
  }
}

TEST(ElementTypeTest, SaysWhatItDoesNotKnow) {
  const auto complex = DTypeOf(at::kComplexFloat);
  EXPECT_EQ(complex.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(complex.status().message()), HasSubstr("ComplexFloat"));
}

}  // namespace
}  // namespace llava::model
