#include "training/data/tar/picture_file.h"

#include <zlib.h>

#include <string>

#include "base/durable_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/tar_writer.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

TEST(PictureFileTest, ReadsWhatStandsInAnArchive) {
  const test::TempDir dir;
  const std::string tar = dir.path() + "/a.tar";
  const std::string bytes = test::TarMember("x/0.jpg", "the picture") + test::TarEnd();
  ASSERT_TRUE(WriteFile(tar, bytes).ok());
  const auto crc =
      static_cast<std::uint32_t>(::crc32(0, reinterpret_cast<const Bytef*>("the picture"), 11));
  const TarPart part{"x/0.jpg", 512, 11, crc};
  const std::string path = tar + "/" + PathInTar(part);
  EXPECT_TRUE(path.ends_with("/0.jpg")) << path;
  EXPECT_TRUE(IsInTar(path));
  EXPECT_EQ(*ReadPictureFile(path, 100), "the picture");
  EXPECT_EQ(ReadPictureFile(path, 10).status().code(), absl::StatusCode::kResourceExhausted);

  ASSERT_TRUE(WriteFile(tar, test::TarMember("x/0.jpg", "another one") + test::TarEnd()).ok());
  EXPECT_THAT(std::string(ReadPictureFile(path, 100).status().message()),
              HasSubstr("has changed since it was opened"));
  ASSERT_TRUE(WriteFile(tar, "short").ok());
  EXPECT_EQ(ReadPictureFile(path, 100).status().code(), absl::StatusCode::kDataLoss);
}

TEST(PictureFileTest, OtherPathsAreFiles) {
  const test::TempDir dir;
  ASSERT_TRUE(WriteFile(dir.path() + "/0.jpg", "p").ok());
  EXPECT_EQ(*ReadPictureFile(dir.path() + "/0.jpg", 100), "p");
  for (const char* path : {"a.jpg", "a.tar", "a.tar/0.jpg", "a.tar/#", "a.tar/#1", "a.tar/#1+2",
                           "a.tar/#1+2+3", "a.tar/#x+2+3/0.jpg", "a.tar/#1+2+3g/0.jpg",
                           "a.tar/#99999999999999999999+2+3/0.jpg", "#1+2+3/0.jpg"}) {
    EXPECT_FALSE(IsInTar(path)) << path;
  }
  EXPECT_TRUE(IsTar("data/a.tar"));
  EXPECT_FALSE(IsTar("data/a.tar.gz"));
}

}  // namespace
}  // namespace llava::training
