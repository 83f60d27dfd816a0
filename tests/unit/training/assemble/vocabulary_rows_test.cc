#include "training/assemble/vocabulary_rows.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include "gtest/gtest.h"

namespace llava::training {
namespace {

TEST(VocabularyRowsTest, RowsAreAMultipleOf64) {
  EXPECT_EQ(PaddedRows(64), 64);
  EXPECT_EQ(PaddedRows(65), 128);
  EXPECT_EQ(PaddedRows(32002), 32064);
}

TEST(VocabularyRowsTest, NewRowsAreTheMeanOfAllOld) {
  const at::Tensor table = at::tensor({1.0F, 2.0F, 3.0F, 6.0F}).view({2, 2});
  const at::Tensor longer = WithMeanRows(table, 4);
  EXPECT_TRUE(
      at::equal(longer, at::tensor({1.0F, 2.0F, 3.0F, 6.0F, 2.0F, 4.0F, 2.0F, 4.0F}).view({4, 2})));
  EXPECT_TRUE(at::equal(WithMeanRows(table, 2), table));
}

}  // namespace
}  // namespace llava::training
