#include "model/kernels/cpu/quantized_matrix.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace llava::model {
namespace {

class QuantizedMatrixTest : public testing::TestWithParam<WeightFormat> {
 protected:
  QuantizedMatrixTest() {
    at::manual_seed(5);
    weight_ = at::randn({37, 133});  // a row ends within a group, and within a byte
  }

  at::Tensor weight_;
};

TEST_P(QuantizedMatrixTest, RowsAreCloseToWhatTheyWereMadeFrom) {
  const QuantizedMatrix matrix = QuantizeMatrix(weight_, GetParam());
  EXPECT_EQ(matrix.out(), 37);
  const at::Tensor error = matrix.Rows(at::arange(37)) - weight_;
  EXPECT_LT(error.abs().mean().item<double>(), GetParam() == WeightFormat::kInt8 ? 0.01 : 0.15);
}

TEST_P(QuantizedMatrixTest, NumbersAreThoseOfTheRows) {
  const QuantizedMatrix matrix = QuantizeMatrix(weight_, GetParam());
  EXPECT_TRUE(at::equal(matrix.Numbers(0, 37), matrix.Rows(at::arange(37))));
  EXPECT_TRUE(at::equal(matrix.Numbers(11, 5), matrix.Rows(at::arange(11, 16))));
  EXPECT_EQ(matrix.Numbers(37, 0).sizes(), (at::IntArrayRef{0, 133}));
}

TEST_P(QuantizedMatrixTest, ARowIsReadAsItWasWritten) {
  const QuantizedMatrix from = QuantizeMatrix(weight_, GetParam());
  QuantizedMatrix to = QuantizedMatrix::Empty(GetParam(), 37, 133);
  std::vector<std::int8_t> codes(133);
  std::vector<float> scales(from.scales.size(1));
  for (std::int64_t row = 0; row < 37; ++row) {
    from.ReadRow(row, codes.data(), scales.data());
    to.WriteRow(row, codes.data(), scales.data());
  }
  EXPECT_TRUE(at::equal(to.codes, from.codes));
  EXPECT_TRUE(at::equal(to.scales, from.scales));
}

TEST_P(QuantizedMatrixTest, BytesAreThoseOfCodesAndScales) {
  const QuantizedMatrix matrix = QuantizeMatrix(weight_, GetParam());
  EXPECT_EQ(QuantizedMatrix::Bytes(GetParam(), 37, 133),
            static_cast<std::int64_t>(matrix.codes.nbytes() + matrix.scales.nbytes()));
}

INSTANTIATE_TEST_SUITE_P(Formats, QuantizedMatrixTest,
                         testing::Values(WeightFormat::kInt8, WeightFormat::kInt4),
                         [](const auto& format) {
                           return format.param == WeightFormat::kInt8 ? "int8" : "int4";
                         });

}  // namespace
}  // namespace llava::model
