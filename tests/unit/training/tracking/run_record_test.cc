#include "training/tracking/run_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/utf8_stream.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::StartsWith;

TEST(RunRecordTest, ParametersAreWithinMlflowsBounds) {
  const std::string umlauts = absl::StrCat(std::string(496, 'x'), "\xc3\xa4\xc3\xa4\xc3\xa4");
  const NamedValues params = ToParams({{"stages[0].rate", "1e-3"},
                                       {"data.files[12]", "a/b.json"},
                                       {"evaluate.r\xc3\xa4quire/x", ""},
                                       {"name", umlauts},
                                       {std::string(300, 'n'), "v"}});
  EXPECT_THAT(params, ElementsAre(Pair("stages.0.rate", "1e-3"), Pair("data.files.12", "a/b.json"),
                                  Pair("evaluate.r__quire_x", ""),
                                  Pair("name", std::string(496, 'x') + "..."),
                                  Pair(std::string(250, 'n'), "v")));
  for (const auto& [name, value] : ToParams({{"a", "\xff\xfe"}})) {
    EXPECT_TRUE(IsValidUtf8(value));
  }
}

TEST(RunRecordTest, MoreSettingsThanAServerTakesAreCounted) {
  NamedValues settings;
  for (int i = 0; i < 1500; ++i) settings.emplace_back(absl::StrCat("files[", i, "]"), "f");
  settings.emplace_back("files.0", "of the same name");
  const NamedValues params = ToParams(settings);
  EXPECT_EQ(params.size(), 1000u);
  EXPECT_THAT(params.back(), Pair("settings_left_out", "502"));
}

TEST(RunRecordTest, ATagIsCutBetweenCharacters) {
  std::string text = "a";
  while (text.size() < 6000) text += "\xe2\x82\xac";
  const std::string tag = ToTag(text);
  EXPECT_LE(tag.size(), 5000u);
  EXPECT_GT(tag.size(), 4990u);
  EXPECT_TRUE(IsValidUtf8(tag));
  EXPECT_THAT(tag, StartsWith("a\xe2\x82\xac"));
}

TEST(RunRecordTest, ARunThatGoesOnIsTheSameRun) {
  test::TempDir dir;
  ManualClock clock;
  MlflowOptions options{.uri = "http://h", .experiment = "e", .token_file = "relative"};
  clock.Advance(std::chrono::seconds(5));
  RunRecord record = *OpenRecord(dir.path(), options, clock);
  EXPECT_EQ(record.key.size(), 32u);
  EXPECT_EQ(record.started, 5000);
  EXPECT_EQ(record.status, kRunning);
  EXPECT_THAT(record.options.token_file, StartsWith("/"));
  EXPECT_NE(record.key, OpenRecord(dir.path(), options, clock)->key);
  record.params = {{"a", "1"}};
  record.tags = {{"t", "2"}};
  record.status = kFailed;
  record.ended = 9000;
  ASSERT_TRUE(WriteRunRecord(record, dir.path()).ok());
  clock.Advance(std::chrono::hours(1));
  options.run_name = "other";
  const RunRecord again = *OpenRecord(dir.path(), options, clock);
  EXPECT_EQ(again.key, record.key);
  EXPECT_EQ(again.started, 5000);
  EXPECT_EQ(again.ended, 9000);
  EXPECT_EQ(again.status, kFailed);
  EXPECT_EQ(again.options.run_name, "other");
  EXPECT_EQ(again.params, record.params);
  EXPECT_EQ(again.tags, record.tags);
}

TEST(RunRecordTest, WhatIsSentComesBackAndDamageIsSaid) {
  test::TempDir dir;
  EXPECT_TRUE(absl::IsNotFound(ReadSentRecord(dir.path()).status()));
  SentRecord sent;
  sent.uri = "http://h";
  sent.experiment = "e";
  sent.key = "k";
  sent.run_id = "r";
  sent.params = {"a", "b"};
  sent.tags = {{"t", "1"}};
  sent.status = kRunning;
  sent.step = 12;
  sent.validation = 10;
  ASSERT_TRUE(WriteSentRecord(sent, dir.path()).ok());
  const SentRecord read = *ReadSentRecord(dir.path());
  EXPECT_EQ(read.uri, "http://h");
  EXPECT_EQ(read.experiment, "e");
  EXPECT_EQ(read.key, "k");
  EXPECT_EQ(read.run_id, "r");
  EXPECT_EQ(read.params, sent.params);
  EXPECT_EQ(read.tags, sent.tags);
  EXPECT_EQ(read.status, kRunning);
  EXPECT_EQ(read.step, 12);
  EXPECT_EQ(read.validation, 10);
  std::ofstream(TrackingFolder(dir.path()) + "/sent.json") << "{\"uri\":1}";
  EXPECT_TRUE(absl::IsDataLoss(ReadSentRecord(dir.path()).status()));
  std::ofstream(TrackingFolder(dir.path()) + "/mlflow.json") << "{";
  EXPECT_TRUE(absl::IsDataLoss(OpenRecord(dir.path(), {}, RealClock()).status()));
}

}  // namespace
}  // namespace llava::training
