#include "capture/verdicts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/durable_file.h"
#include "base/field_error.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::HasSubstr;

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
