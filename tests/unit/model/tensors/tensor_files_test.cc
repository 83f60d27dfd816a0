#include "model/tensors/tensor_files.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using ::testing::HasSubstr;

class TensorFilesTest : public ::testing::Test {
 protected:
  test::TempDir folder_;
  const std::string path_ = folder_.path() + "/a.safetensors";
};

TEST_F(TensorFilesTest, WhatWasSavedIsLoadedWhateverItsLayout) {
  const at::Tensor numbers = at::arange(6, at::kFloat).view({2, 3});
  const std::vector<NamedTensor> saved = {
      {"a", numbers}, {"b", numbers.t()}, {"c", numbers.to(at::kBFloat16)}, {"d", at::zeros({0})}};
  ASSERT_TRUE(SaveTensors(path_, saved).ok());
  const auto loaded = LoadTensors(path_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->size(), saved.size());
  for (std::size_t i = 0; i < saved.size(); ++i) {
    EXPECT_EQ((*loaded)[i].name, saved[i].name);
    EXPECT_EQ((*loaded)[i].tensor.scalar_type(), saved[i].tensor.scalar_type());
    EXPECT_TRUE(at::equal((*loaded)[i].tensor, saved[i].tensor)) << saved[i].name;
  }
}

TEST_F(TensorFilesTest, SavedAsAnotherTypeAllHaveIt) {
  ASSERT_TRUE(SaveTensorsAs(path_, {{"a", at::arange(4, at::kFloat)}}, at::kHalf).ok());
  const auto loaded = LoadTensors(path_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(at::equal((*loaded)[0].tensor, at::arange(4, at::kHalf)));
}

TEST_F(TensorFilesTest, AnErrorNamesTheFile) {
  std::ofstream(path_) << "no weights at all";
  const auto loaded = LoadTensors(path_);
  ASSERT_FALSE(loaded.ok());
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(path_));
}

}  // namespace
}  // namespace llava::model
