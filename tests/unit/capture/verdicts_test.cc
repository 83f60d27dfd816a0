#include "capture/verdicts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "base/durable_file.h"
#include "base/field_error.h"
#include "base/file.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(VerdictsTest, AreReadAsTheyWereWritten) {
  const test::TempDir dir;
  EXPECT_TRUE(ReadVerdicts(dir.path())->empty());
  Verdicts verdicts;
  verdicts[2] = {.thumb = Thumb::kUp, .time = 5};
  verdicts[7] = {.thumb = Thumb::kDown, .correction = "Two\nlines.", .time = 6};
  verdicts[9] = {.is_removed = true, .versions = {"a", "b"}};
  ASSERT_TRUE(WriteVerdicts(verdicts, dir.path()).ok());
  EXPECT_EQ(*ReadVerdicts(dir.path()), verdicts);
  EXPECT_GT(VerdictBytes(dir.path()), 0);
}

TEST(VerdictsTest, ADamagedLineIsNamed) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/verdicts.jsonl";
  ASSERT_TRUE(WriteFile(path, "{\"row\": 1, \"verdict\": \"up\"}\n{\"row\": 2}\n").ok());
  EXPECT_THAT(ReadVerdicts(dir.path()).status().message(),
              AllOf(HasSubstr("verdicts.jsonl:2"), HasSubstr("verdict")));
}

TEST(VerdictsTest, TheLastLineOfARowIsItsVerdict) {
  const test::TempDir dir;
  const std::string text =
      "{\"row\":1,\"verdict\":\"up\"}\n{\"row\":2,\"verdict\":\"up\"}\n"
      "{\"row\":1,\"verdict\":\"down\",\"time\":3}\n{\"row\":2,\"verdict\":\"none\",\"time\":4}\n";
  // The last one is still being written.
  ASSERT_TRUE(WriteFile(VerdictsFile(dir.path()), text + "{\"row\":1,\"verd").ok());
  EXPECT_EQ(*ReadVerdicts(dir.path()), (Verdicts{{1, {.thumb = Thumb::kDown, .time = 3}}}));
}

TEST(VerdictFileTest, AppendsALineAVerdict) {
  const test::TempDir dir;
  ASSERT_TRUE(WriteVerdicts({{3, {.is_removed = true, .versions = {"v"}}}}, dir.path()).ok());
  auto file = VerdictFile::Open(dir.path());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->IsRemoved(3));
  EXPECT_FALSE(file->IsRemoved(1));
  const std::string before = *ReadFile(VerdictsFile(dir.path()), 1 << 20);
  ASSERT_TRUE(file->Append(1, {.thumb = Thumb::kUp, .time = 5}).ok());
  ASSERT_TRUE(file->Append(1, {.thumb = Thumb::kDown, .correction = "Two.", .time = 6}).ok());
  ASSERT_TRUE(file->Append(2, {.thumb = Thumb::kUp, .time = 7}).ok());
  const std::string after = *ReadFile(VerdictsFile(dir.path()), 1 << 20);
  EXPECT_EQ(after.substr(0, before.size()), before) << "nothing was written again";
  EXPECT_EQ(std::count(after.begin(), after.end(), '\n'), 4);
  EXPECT_EQ(file->bytes(), std::ssize(after));
  const Verdicts verdicts = *ReadVerdicts(dir.path());
  EXPECT_EQ(verdicts.at(1), (Verdict{.thumb = Thumb::kDown, .correction = "Two.", .time = 6}));
  EXPECT_EQ(verdicts.at(2).time, 7);
  EXPECT_TRUE(verdicts.at(3).is_removed);
}

TEST(VerdictFileTest, WhatACrashLeftOfALineIsCutOff) {
  const test::TempDir dir;
  const std::string whole = "{\"row\":1,\"verdict\":\"up\",\"time\":2}\n";
  for (const std::string half :
       {"{\"row\":2,", "{\"row\":2,\"verdict\":\"up\",\"time\":2}", "\\"}) {
    ASSERT_TRUE(WriteFile(VerdictsFile(dir.path()), whole + half).ok());
    auto file = VerdictFile::Open(dir.path());
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE(file->Append(4, {.thumb = Thumb::kUp, .time = 9}).ok());
    const Verdicts verdicts = *ReadVerdicts(dir.path());
    EXPECT_EQ(verdicts.size(), 2u);
    EXPECT_TRUE(verdicts.contains(1) && verdicts.contains(4));
  }
}

TEST(VerdictFileTest, ADamagedLineIsNamedAndStays) {
  const test::TempDir dir;
  const std::string text = "{\"row\":1,\"verdict\":\"up\"}\n{\"row\":2}\n";
  ASSERT_TRUE(WriteFile(VerdictsFile(dir.path()), text).ok());
  EXPECT_THAT(VerdictFile::Open(dir.path()).status().message(), HasSubstr("verdicts.jsonl:2"));
  EXPECT_EQ(*ReadFile(VerdictsFile(dir.path()), 1 << 20), text);
}

TEST(VerdictFileTest, WordsThatAreTakenBackAreGone) {
  const test::TempDir dir;
  auto file = VerdictFile::Open(dir.path());
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Append(1, {.correction = "My name is Ann.", .time = 1}).ok());
  ASSERT_TRUE(file->Append(2, {.thumb = Thumb::kUp, .time = 2}).ok());
  ASSERT_TRUE(file->Append(1, {.time = 3}).ok());
  EXPECT_THAT(*ReadFile(VerdictsFile(dir.path()), 1 << 20), Not(HasSubstr("Ann")));
  ASSERT_TRUE(file->Append(1, {.thumb = Thumb::kDown, .time = 4}).ok()) << "it goes on";
  const Verdicts verdicts = *ReadVerdicts(dir.path());
  EXPECT_EQ(verdicts.at(1).thumb, Thumb::kDown);
  EXPECT_EQ(verdicts.at(2).thumb, Thumb::kUp);
}

TEST(VerdictFileTest, OldLinesTakeABoundedPartOfTheFile) {
  const test::TempDir dir;
  auto file = VerdictFile::Open(dir.path());
  ASSERT_TRUE(file.ok()) << file.status();
  const std::string words(10'000, 'x');
  std::int64_t most = 0;
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(file->Append(i % 3, {.correction = words, .time = i}).ok());
    most = std::max(most, file->bytes());
  }
  EXPECT_LE(most, 2 * 3 * 10'100 + kOldVerdictBytes);
  EXPECT_GT(most, kOldVerdictBytes) << "not every line wrote all of it again";
  const Verdicts verdicts = *ReadVerdicts(dir.path());
  EXPECT_EQ(verdicts.at(1).time, 199);
  EXPECT_EQ(verdicts.size(), 3u);
  EXPECT_EQ(file->bytes(), VerdictBytes(dir.path()));
}

TEST(VerdictsTest, ThumbsHaveNames) {
  EXPECT_EQ(*ParseThumb("up"), Thumb::kUp);
  EXPECT_EQ(*ParseThumb("down"), Thumb::kDown);
  EXPECT_EQ(*ParseThumb("none"), Thumb::kNone);
  EXPECT_EQ(FieldOf(ParseThumb("sideways").status()), "verdict");
  EXPECT_THAT(ParseThumb("sideways").status().message(),
              HasSubstr("is 'sideways', expected up, down or none"));
}

TEST(VerdictsTest, ACorrectionHasToBeAnAnswer) {
  EXPECT_TRUE(CheckCorrection("A dog.").ok());
  EXPECT_THAT(CheckCorrection("an <image>").message(), HasSubstr("expected a text without them"));
  EXPECT_THAT(CheckCorrection("\xff").message(), HasSubstr("UTF-8"));
  EXPECT_THAT(CheckCorrection(std::string(kMaxCorrectionBytes + 1, 'x')).message(),
              HasSubstr("65537 bytes, expected at most 65536"));
}

}  // namespace
}  // namespace llava::capture
