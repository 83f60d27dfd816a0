#include "model/kernels/packed_matrix.h"

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace llava::model {
namespace {

struct Set {
  const KernelTable* kernels;
  at::ScalarType dtype;
};

std::vector<Set> AllSets() {
  std::vector<const KernelTable*> tables = {&BaselineKernels(), &Kernels()};
  std::vector<Set> sets;
  for (const KernelTable* table : tables) {
    sets.push_back({table, at::kFloat});
    sets.push_back({table, at::kBFloat16});
  }
  return sets;
}

class PackedMatrixTest : public testing::TestWithParam<Set> {
 protected:
  PackedMatrix Pack(const at::Tensor& weight) {
    return PackedMatrix({&weight, 1}, GetParam().dtype, *GetParam().kernels);
  }
};

TEST_P(PackedMatrixTest, UnpacksToWhatItWasGiven) {
  at::manual_seed(1);
  for (const std::int64_t out : {1, 8, 33, 100}) {
    for (const std::int64_t in : {1, 7, 64}) {
      const at::Tensor weight = at::randn({out, in}).to(GetParam().dtype);
      EXPECT_TRUE(at::equal(Pack(weight).Unpack(), weight)) << out << "x" << in;
    }
  }
}

TEST_P(PackedMatrixTest, StacksItsPartsAndConvertsThem) {
  at::manual_seed(5);
  for (const std::int64_t in : {7, 64}) {
    const std::vector<at::Tensor> parts = {at::randn({3, in}), at::randn({21, in}).to(at::kHalf),
                                           at::randn({in, 10}).to(at::kBFloat16).t()};
    const PackedMatrix packed(parts, GetParam().dtype, *GetParam().kernels);
    const at::Tensor expected =
        at::cat({parts[0], parts[1].to(at::kFloat), parts[2].to(at::kFloat)});
    EXPECT_TRUE(at::equal(packed.Unpack(), expected.to(GetParam().dtype)));
  }
}

TEST_P(PackedMatrixTest, MultipliesLikeAten) {
  at::manual_seed(2);
  for (const std::int64_t out : {1, 50, 300}) {
    for (const std::int64_t in : {1, 3, 257, 600}) {
      const at::Tensor weight = at::randn({out, in}).to(GetParam().dtype);
      const at::Tensor bias = at::randn({out});
      const PackedMatrix packed = Pack(weight);
      for (const std::int64_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 24, 25, 250}) {
        const at::Tensor x = at::randn({rows, in});
        const at::Tensor expected =
            at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
        EXPECT_TRUE(at::allclose(packed.Multiply(x, bias), expected.to(at::kFloat), 1e-4, 1e-4))
            << rows << "x" << in << "x" << out;
        EXPECT_TRUE(at::allclose(packed.Multiply(x, {}),
                                 (expected - bias.to(at::kDouble)).to(at::kFloat), 1e-4, 1e-4));
      }
    }
  }
}

TEST_P(PackedMatrixTest, ARowIsTheSameBitsWhateverTheOtherRowsAre) {
  at::manual_seed(3);
  const PackedMatrix packed = Pack(at::randn({130, 600}).to(GetParam().dtype));
  const at::Tensor x = at::randn({300, 600});
  const at::Tensor all = packed.Multiply(x, {});
  for (const std::int64_t rows : {1, 2, 3, 5, 6, 7, 12, 13, 40, 250}) {
    EXPECT_TRUE(at::equal(packed.Multiply(x.narrow(0, 17, rows), {}), all.narrow(0, 17, rows)));
  }
}

TEST_P(PackedMatrixTest, TakesRowsThatAreApart) {
  at::manual_seed(4);
  const PackedMatrix packed = Pack(at::randn({40, 32}).to(GetParam().dtype));
  for (const std::int64_t rows : {2, 30}) {
    const at::Tensor wide = at::randn({rows, 96});
    const at::Tensor x = wide.narrow(1, 32, 32);
    EXPECT_TRUE(at::equal(packed.Multiply(x, {}), packed.Multiply(x.contiguous(), {})));
  }
}

TEST_P(PackedMatrixTest, NotANumberStaysInItsRow) {
  const PackedMatrix packed = Pack(at::ones({20, 16}).to(GetParam().dtype));
  at::Tensor x = at::ones({9, 16});
  x[4][3] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor bad = packed.Multiply(x, {}).isnan().any(1);
  EXPECT_EQ(bad.sum().item<std::int64_t>(), 1);
  EXPECT_TRUE(bad[4].item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Kernels, PackedMatrixTest, testing::ValuesIn(AllSets()),
                         [](const auto& set) {
                           return std::string(set.param.kernels->name) + "_" +
                                  at::toString(set.param.dtype) + "_" + std::to_string(set.index);
                         });

}  // namespace
}  // namespace llava::model
