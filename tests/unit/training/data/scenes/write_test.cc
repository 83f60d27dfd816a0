#include "training/data/scenes/write.h"

#include <filesystem>
#include <string>

#include "base/file.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "training/data/dense_labels.h"
#include "training/data/instruction_dataset.h"

namespace llava::training::scenes {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;

TEST(WriteTest, WritesWhatTheDatasetReadsAndTheSameBytesAgain) {
  test::TempDir dir;
  const WriteOptions options{.count = 20, .seed = 4};
  ASSERT_TRUE(WriteScenes(options, dir.path() + "/a").ok());
  ASSERT_TRUE(WriteScenes(options, dir.path() + "/b").ok());
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir.path() + "/a")) {
    if (!entry.is_regular_file()) continue;
    const auto relative = std::filesystem::relative(entry.path(), dir.path() + "/a");
    EXPECT_EQ(ReadFile(entry.path(), kMaxBytes).value(),
              ReadFile(dir.path() + "/b/" + relative.string(), kMaxBytes).value())
        << relative;
    ++files;
  }
  EXPECT_EQ(files, 26);
  DatasetOptions dataset;
  dataset.images_dir = dir.path() + "/a/images";
  dataset.on_bad_row = OnBadRow::kStop;
  for (const char* name : {"instruct.jsonl", "captions.jsonl"}) {
    const auto data = InstructionDataset::Open({dir.path() + "/a/" + name}, dataset);
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->size(), 20);
  }
  const auto labels = ReadDenseLabels(dir.path() + "/a");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_EQ(labels->images.size(), 20u);
  EXPECT_EQ(labels->rows, 12);
  EXPECT_EQ(labels->labels.size(), 20u * 4 * 144);
}

TEST(WriteTest, RefusesWhatItCannotDo) {
  test::TempDir dir;
  EXPECT_EQ(WriteScenes({.count = 0}, dir.path()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteScenes({.count = 1, .turns = 0}, dir.path()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteScenes({.count = 1, .patch = 7}, dir.path()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteScenes({.count = 1}, "/proc/none").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace llava::training::scenes
