#include "base/lines/line_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <string>
#include <vector>

#include "base/durable_file.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

bool KeepAll(absl::string_view) { return true; }

std::string FileWith(const test::TempDir& dir, const std::string& text) {
  const std::string path = dir.path() + "/lines";
  EXPECT_TRUE(WriteFile(path, text).ok());
  return path;
}

TEST(LineFile, LinesComeWithTheirPlaces) {
  const test::TempDir dir;
  const std::string path = FileWith(dir, "one\n\nthree");
  auto reader = LineReader::Open(path);
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<std::string> seen;
  for (auto line = reader->Next().value(); line.has_value(); line = reader->Next().value()) {
    seen.push_back(line->text + "/" + std::to_string(line->number) + "/" +
                   std::to_string(line->offset) + "/" + std::to_string(line->bytes) +
                   (line->has_end ? "" : "/cut"));
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"one/1/0/4", "/2/4/1", "three/3/5/5/cut"}));
}

TEST(LineFile, LinesLongerThanAPieceAreWhole) {
  const test::TempDir dir;
  const std::string wide(1'000'000, 'x');
  const std::string path = FileWith(dir, wide + "\nb\n" + wide + "\n");
  auto reader = LineReader::Open(path);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(reader->Next().value()->text, wide);
  EXPECT_EQ(reader->Next().value()->text, "b");
  EXPECT_EQ(reader->Next().value()->text, wide);
  EXPECT_FALSE(reader->Next().value().has_value());
}

TEST(LineFile, BytesAreReadFromAnyPlace) {
  const test::TempDir dir;
  const std::string path = FileWith(dir, "one\ntwo\n");
  const auto file = OpenRegularFile(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(ReadBytes(*file, path, 4, 3).value(), "two");
  EXPECT_EQ(ReadBytes(*file, path, 6, 100).value(), "o\n");
}

TEST(LineFile, WhatWasAppendedStaysAndATornEndIsCut) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/lines";
  {
    auto file = LineAppender::Open(path, KeepAll);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE(file->Append("one").ok());
    EXPECT_TRUE(file->Append("two").ok());
    EXPECT_TRUE(file->Sync().ok());
    EXPECT_EQ(file->size(), 8);
  }
  ASSERT_TRUE(WriteFile(path, "one\ntwo\nthr").ok());
  std::vector<std::string> seen;
  auto file = LineAppender::Open(path, [&](absl::string_view line) {
    seen.emplace_back(line);
    return true;
  });
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(seen, (std::vector<std::string>{"one", "two"}));
  EXPECT_TRUE(file->Append("three").ok());
  EXPECT_EQ(ReadFile(path, 100).value(), "one\ntwo\nthree\n");
}

TEST(LineFile, FromTheFirstLineOnThatIsNoneItIsCut) {
  const test::TempDir dir;
  const std::string path = FileWith(dir, "one\n\0\0\nthree\n");
  auto file = LineAppender::Open(path, [](absl::string_view line) { return line == "one"; });
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->size(), 4);
  EXPECT_EQ(ReadFile(path, 100).value(), "one\n");
}

TEST(LineFile, HasItsLinesAgainAndCutsATornOne) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/lines";
  std::vector<std::string> lines;
  {
    auto file = LineAppender::Open(path, 1000, &lines);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE(lines.empty());
    ASSERT_TRUE(file->AppendDurably("one").ok());
    ASSERT_TRUE(file->AppendDurably("").ok());
    EXPECT_TRUE(absl::IsUnavailable(LineAppender::Open(path, 1000, &lines).status()));
  }
  ASSERT_TRUE(WriteFile(path, "one\n\ntor").ok());
  lines.clear();
  {
    auto file = LineAppender::Open(path, 1000, &lines);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(lines, std::vector<std::string>({"one", ""}));
    ASSERT_TRUE(file->AppendDurably("two").ok());
  }
  EXPECT_EQ(ReadFile(path, 100).value(), "one\n\ntwo\n");
  EXPECT_TRUE(absl::IsResourceExhausted(LineAppender::Open(path, 3, &lines).status()));
  EXPECT_TRUE(absl::IsNotFound(LineAppender::Open(dir.path() + "/no/file", 3, &lines).status()));
}

// A file that may not grow takes a part of what is written to it, and then no more.
TEST(LineFile, ALineThatDoesNotFitLeavesNothingBehind) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/lines";
  std::vector<std::string> lines;
  auto file = LineAppender::Open(path, 10'000, &lines);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->AppendDurably("one").ok());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = file->AppendDurably(std::string(1500, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find(path), std::string::npos) << status;
  ASSERT_TRUE(file->AppendDurably("two").ok());
  EXPECT_EQ(ReadFile(path, 10'000).value(), "one\ntwo\n");
}

}  // namespace
}  // namespace llava
