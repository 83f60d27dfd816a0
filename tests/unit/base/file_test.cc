#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

class FileTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return dir_.path() + "/" + name; }

  test::TempDir dir_;
};

TEST_F(FileTest, ReadsWhatWasWritten) {
  const std::string bytes = absl::StrCat(absl::string_view("a\0b\n", 4), std::string(100'000, 'x'));
  ASSERT_TRUE(WriteFile(Path("file"), bytes).ok());
  EXPECT_EQ(ReadFile(Path("file"), bytes.size()).value(), bytes);
  ASSERT_TRUE(WriteFile(Path("file"), "").ok());
  EXPECT_EQ(ReadFile(Path("file"), 0).value(), "");
}

TEST_F(FileTest, MoreThanTheLimitIsRefusedBeforeItIsRead) {
  ASSERT_TRUE(WriteFile(Path("file"), "12345").ok());
  const auto read = ReadFile(Path("file"), 4);
  EXPECT_TRUE(absl::IsResourceExhausted(read.status()));
  EXPECT_NE(read.status().message().find("expected at most 4 bytes, found 5"), std::string::npos);
}

TEST_F(FileTest, FilesThatSayTheyAreEmptyAreReadToTheirEnd) {
  EXPECT_NE(ReadFile("/proc/self/status", 1 << 20).value().find("Pid:"), std::string::npos);
  EXPECT_TRUE(absl::IsResourceExhausted(ReadFile("/proc/self/status", 10).status()));
}

// A link that leads nowhere is there: reading it says what is wrong.
TEST_F(FileTest, OnlyWhatIsCertainlyAbsentIsNotThere) {
  ASSERT_TRUE(WriteFile(Path("file"), "").ok());
  EXPECT_TRUE(IsThere(Path("file")));
  EXPECT_TRUE(IsThere(dir_.path()));
  EXPECT_FALSE(IsThere(Path("no")));
  EXPECT_FALSE(IsThere(Path("file/below")));
  std::filesystem::create_symlink("circle", Path("circle"));
  EXPECT_TRUE(IsThere(Path("circle")));
  std::filesystem::create_symlink("no", Path("dangling"));
  EXPECT_TRUE(IsThere(Path("dangling")));
}

// As in a hub's cache whose download was broken off: no reader may take it for a file left out.
TEST_F(FileTest, ALinkWhoseTargetIsNotThereIsNamedWithIt) {
  std::filesystem::create_symlink("../blobs/no", Path("dangling"));
  const absl::Status status = ReadFile(Path("dangling"), 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::string(status.message()),
            Path("dangling") + ": is a link to '../blobs/no', which is not there");
}

TEST_F(FileTest, MissingFilesAreNotFound) {
  ASSERT_TRUE(WriteFile(Path("file"), "").ok());
  for (const char* name : {"no", "no/file", "file/below"}) {
    const absl::Status status = ReadFile(Path(name), 10).status();
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_TRUE(absl::StartsWith(status.message(), Path(name))) << status;
  }
}

TEST_F(FileTest, WhatIsNoRegularFileIsRefusedAtOnce) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  std::filesystem::create_directory(Path("folder"));
  for (const std::string& path : {Path("pipe"), Path("folder"), std::string("/dev/zero")}) {
    const absl::Status status = ReadFile(path, 10).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_TRUE(absl::StartsWith(status.message(), path)) << status;
  }
}

// The system says "no such device" of it, which must not pass for a file that is missing.
TEST_F(FileTest, ASocketIsNotAMissingFile) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(Path("socket").size(), sizeof(address.sun_path));
  std::strncpy(address.sun_path, Path("socket").c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  close(fd);
  EXPECT_TRUE(absl::IsInvalidArgument(ReadFile(Path("socket"), 10).status()));
}

TEST_F(FileTest, LinksAreFollowedUnlessTheyGoInACircle) {
  ASSERT_TRUE(WriteFile(Path("file"), "x").ok());
  ASSERT_EQ(symlink("file", Path("link").c_str()), 0);
  ASSERT_EQ(symlink("loop", Path("loop").c_str()), 0);
  EXPECT_EQ(ReadFile(Path("link"), 1).value(), "x");
  EXPECT_FALSE(ReadFile(Path("loop"), 1).ok());
}

}  // namespace
}  // namespace llava
