#include "training/data/dense_labels.h"

#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

TEST(DenseLabelsTest, NamesWhatIsWrong) {
  test::TempDir dir;
  EXPECT_EQ(ReadDenseLabels(dir.path()).status().code(), absl::StatusCode::kNotFound);
  DenseLabels labels;
  labels.patch = 8;
  labels.rows = labels.columns = 1;
  labels.planes = {{"what", {"nothing", "cat"}}};
  labels.images = {"a.jpg", "b.jpg"};
  labels.labels = {1, 2};
  EXPECT_THAT(WriteDenseLabels(labels, dir.path()).message(),
              testing::HasSubstr("label 2 of picture b.jpg is none of the 2 classes"));
  labels.labels = {1, 0};
  ASSERT_TRUE(WriteDenseLabels(labels, dir.path()).ok());
  EXPECT_EQ(ReadDenseLabels(dir.path())->planes[0].classes[1], "cat");
  std::ofstream(dir.path() + "/patches.u8", std::ios::app) << "x";
  EXPECT_THAT(ReadDenseLabels(dir.path()).status().message(), testing::HasSubstr("has 3 labels"));
  std::ofstream(dir.path() + "/patches.json") << "{}";
  EXPECT_EQ(ReadDenseLabels(dir.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace llava::training
