#include "capture/open_shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/file.h"
#include "capture/closing.h"
#include "capture/shard.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kName[] = "1700000000000";

TEST(OpenShardTest, IsSeenOnceItIsClosed) {
  const test::TempDir dir;
  auto shard = OpenShard::Create(dir.path(), kName).value();
  const Row row = test::CapturedPicture("ann", "r1", "\xff\xd8\xff");
  const std::vector<Digest> digests = {Sha256Of(row.pictures[0])};
  ASSERT_TRUE(shard->Append(row, digests).ok());
  ASSERT_TRUE(shard->Append(row, digests).ok());
  EXPECT_THAT(*ListShards(dir.path()), IsEmpty());
  ASSERT_TRUE(shard->Close().ok());
  EXPECT_THAT(*ListShards(dir.path()), ElementsAre(kName));
  const std::string folder = ShardFolder(dir.path(), kName);
  EXPECT_EQ(FolderBytes(folder), shard->bytes()) << "its picture is there once";
  EXPECT_EQ(*ReadFile(PicturesFolder(folder) + "/" + PictureName(digests[0], row.pictures[0]), 99),
            row.pictures[0]);
  int rows = 0;
  EXPECT_TRUE(ReadRows(folder, [&](absl::string_view line) {
                EXPECT_EQ(ParseRowHead(line)->number, rows++);
                return absl::OkStatus();
              }).ok());
  EXPECT_EQ(rows, 2);
  const std::string text = *ReadFile(RowsFile(folder), 1 << 20);
  const RowsState state{2, std::ssize(text), Sha256Of(text).Hex()};
  EXPECT_THAT(*ReadClosing(folder), ElementsAre(state));
}

TEST(OpenShardTest, WithoutRowsNothingStays) {
  const test::TempDir dir;
  ASSERT_TRUE(OpenShard::Create(dir.path(), kName).value()->Close().ok());
  EXPECT_TRUE(std::filesystem::is_empty(ShardsFolder(dir.path())));
}

TEST(OpenShardTest, AfterACrashWhatWasWrittenWholeIsThere) {
  const test::TempDir dir;
  auto shard = OpenShard::Create(dir.path(), kName).value();
  ASSERT_TRUE(shard->Append(test::CapturedRow("ann", "r1"), {}).ok());
  std::ofstream(RowsFile(shard->folder()), std::ios::app) << R"({"id": "half)";
  shard.reset();  // never closed
  ASSERT_TRUE(OpenShard::Recover(dir.path(), kName).ok());
  EXPECT_THAT(*ListShards(dir.path()), ElementsAre(kName));
  int rows = 0;
  const absl::Status read = ReadRows(ShardFolder(dir.path(), kName), [&](absl::string_view line) {
    ++rows;
    return ParseRowHead(line).status();
  });
  EXPECT_TRUE(read.ok()) << read;
  EXPECT_EQ(rows, 1);
  const std::string text = *ReadFile(RowsFile(ShardFolder(dir.path(), kName)), 1 << 20);
  EXPECT_THAT(*ReadClosing(ShardFolder(dir.path(), kName)),
              ElementsAre(RowsState{1, std::ssize(text), Sha256Of(text).Hex()}));
}

TEST(OpenShardTest, ARecordThatCannotBeWrittenKeepsNoShardOpen) {
  const test::TempDir dir;
  auto shard = OpenShard::Create(dir.path(), kName).value();
  ASSERT_TRUE(shard->Append(test::CapturedRow("ann", "r1"), {}).ok());
  std::filesystem::create_directory(ClosingFile(shard->folder()) + ".new");  // stands in its way
  ASSERT_TRUE(shard->Close().ok());
  EXPECT_THAT(*ListShards(dir.path()), ElementsAre(kName));
  EXPECT_THAT(*ReadClosing(ShardFolder(dir.path(), kName)), IsEmpty());
}

TEST(OpenShardTest, ARecordThatIsThereAfterACrashStaysWhatTheRowsMustFit) {
  const test::TempDir dir;
  auto shard = OpenShard::Create(dir.path(), kName).value();
  ASSERT_TRUE(shard->Append(test::CapturedRow("ann", "r1"), {}).ok());
  const RowsState other{2, 99, std::string(64, 'a')};
  ASSERT_TRUE(WriteClosing({other}, shard->folder()).ok());
  shard.reset();
  ASSERT_TRUE(OpenShard::Recover(dir.path(), kName).ok());
  EXPECT_THAT(*ReadClosing(ShardFolder(dir.path(), kName)), ElementsAre(other));
}

TEST(OpenShardTest, AfterACrashBeforeTheFirstRowNothingStays) {
  const test::TempDir dir;
  OpenShard::Create(dir.path(), kName).value().reset();
  ASSERT_TRUE(OpenShard::Recover(dir.path(), kName).ok());
  EXPECT_TRUE(std::filesystem::is_empty(ShardsFolder(dir.path())));
}

}  // namespace
}  // namespace llava::capture
