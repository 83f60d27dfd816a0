#include "base/durable_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "base/file.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

TEST(DurableFile, PartsStandOneAfterAnother) {
  const test::TempDir dir;
  auto file = OutputFile::Create(dir.path() + "/file");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->Write("one, ").ok());
  EXPECT_TRUE(file->Write("").ok());
  EXPECT_TRUE(file->Write("two").ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_EQ(ReadFile(dir.path() + "/file", 100).value(), "one, two");
}

TEST(DurableFile, WritingReplacesWhatWasLonger) {
  const test::TempDir dir;
  ASSERT_TRUE(WriteFile(dir.path() + "/file", "a long text").ok());
  ASSERT_TRUE(WriteFile(dir.path() + "/file", "short").ok());
  EXPECT_EQ(ReadFile(dir.path() + "/file", 100).value(), "short");
}

TEST(DurableFile, RenamingReplaces) {
  const test::TempDir dir;
  ASSERT_TRUE(WriteFile(dir.path() + "/new", "new").ok());
  ASSERT_TRUE(WriteFile(dir.path() + "/old", "old").ok());
  ASSERT_TRUE(RenameFile(dir.path() + "/new", dir.path() + "/old").ok());
  EXPECT_EQ(ReadFile(dir.path() + "/old", 100).value(), "new");
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/new"));
}

TEST(DurableFile, ErrorsNameThePath) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/no/file";
  for (const absl::Status& status :
       {WriteFile(path, "x"), RenameFile(path, path), SyncFolder(dir.path() + "/no/file")}) {
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_NE(status.message().find(path), std::string::npos) << status;
  }
}

TEST(DurableFile, AFullDiskIsAnError) {
  auto file = OutputFile::Create("/dev/full");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(absl::IsResourceExhausted(file->Write("x"))) << "ENOSPC";
}

// A file that may not grow takes a part of what is written to it, and then no more.
TEST(DurableFile, WhatIsTakenInPartsIsWrittenToItsEnd) {
  const test::TempDir dir;
  auto file = OutputFile::Create(dir.path() + "/file");
  ASSERT_TRUE(file.ok()) << file.status();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = file->Write(std::string(1500, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(std::filesystem::file_size(dir.path() + "/file"), 1000u);
}

}  // namespace
}  // namespace llava
