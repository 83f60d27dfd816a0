#include "training/tracking/teller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/fake_mlflow.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using Point = test::FakeMlflow::Point;

class TellerTest : public ::testing::Test {
 protected:
  TellerTest() {
    options_ = {.uri = server_.uri(), .experiment = "flags", .run_name = "night"};
    record_ = *OpenRecord(dir_.path(), options_, clock_);
    record_.params = {{"seed", "42"}};
    record_.tags = {{"llava.version", "1"}};
    Write();
  }

  void Write() { ASSERT_TRUE(WriteRunRecord(record_, dir_.path()).ok()); }

  void Step(int step) {
    std::ofstream(dir_.path() + "/metrics.jsonl", std::ios::app)
        << absl::StrCat(R"({"total_step":)", step, R"(,"unix_ms":1,"loss":)", step, "}\n");
  }

  void Start() {
    auto teller = Teller::Make(dir_.path(), clock_,
                               [this](const std::string& line) { messages_.push_back(line); });
    ASSERT_TRUE(teller.ok()) << teller.status();
    teller_ = *std::move(teller);
  }

  absl::Status TellAll() {
    for (;;) {
      const absl::StatusOr<bool> more = teller_->Next();
      if (!more.ok()) return more.status();
      if (!*more) return absl::OkStatus();
    }
  }

  test::FakeMlflow server_;
  RealClock clock_;
  test::TempDir dir_;
  MlflowOptions options_;
  RunRecord record_;
  std::vector<std::string> messages_;
  std::unique_ptr<Teller> teller_;
};

TEST_F(TellerTest, TellsAllOfARunAndItsEndLast) {
  Start();
  Step(1);
  EXPECT_TRUE(TellAll().ok());
  EXPECT_THAT(server_.params(), ElementsAre(Pair("seed", "42")));
  EXPECT_THAT(server_.tags(), ElementsAre(Pair("llava.version", "1")));
  EXPECT_THAT(server_.points(), ElementsAre(Point{"loss", 1, 1}));
  EXPECT_THAT(server_.statuses(), ElementsAre("RUNNING"));
  EXPECT_THAT(messages_, ElementsAre(HasSubstr("run r1 of the experiment 'flags'")));
  Step(2);
  record_.tags["llava.checkpoint"] = "abc";
  record_.params.emplace_back("late", "1");
  record_.status = kFinished;
  record_.ended = 5;
  Write();
  EXPECT_TRUE(TellAll().ok());
  EXPECT_THAT(server_.points(), ElementsAre(Point{"loss", 1, 1}, Point{"loss", 2, 2}));
  EXPECT_THAT(server_.params(), ElementsAre(Pair("late", "1"), Pair("seed", "42")));
  EXPECT_THAT(server_.tags(),
              ElementsAre(Pair("llava.checkpoint", "abc"), Pair("llava.version", "1")));
  EXPECT_THAT(server_.statuses(), ElementsAre("RUNNING", "FINISHED"));
}

TEST_F(TellerTest, GoesOnInTheSameRunWithWhatItDoesNotKnow) {
  Start();
  Step(1);
  Step(2);
  EXPECT_TRUE(TellAll().ok());
  record_.status = kKilled;
  Write();
  EXPECT_TRUE(TellAll().ok());
  // The run begins again behind its first step.
  std::filesystem::remove(dir_.path() + "/metrics.jsonl");
  Step(1);
  Step(2);
  Step(3);
  record_.status = kRunning;
  Write();
  Start();
  EXPECT_TRUE(TellAll().ok());
  EXPECT_THAT(server_.points(),
              ElementsAre(Point{"loss", 1, 1}, Point{"loss", 2, 2}, Point{"loss", 3, 3}));
  EXPECT_THAT(server_.statuses(), ElementsAre("RUNNING", "KILLED", "RUNNING"));
  EXPECT_EQ(server_.runs(), 1);
}

TEST_F(TellerTest, LostAnswersMakeNoSecondRun) {
  server_.LoseEvery(3);
  Step(1);
  for (int attempt = 0; attempt < 20; ++attempt) {
    Start();  // each time by another process
    if (TellAll().ok()) break;
  }
  EXPECT_TRUE(TellAll().ok());
  EXPECT_EQ(server_.runs(), 1);
  EXPECT_THAT(server_.params(), ElementsAre(Pair("seed", "42")));
  EXPECT_THAT(server_.points(), Contains(Point{"loss", 1, 1}));  // a database has it once
}

TEST_F(TellerTest, AnOutageLosesNothing) {
  Start();
  server_.Fail(test::HttpText(503, "{}"));
  EXPECT_TRUE(absl::IsUnavailable(TellAll()));
  for (int step = 1; step <= 1500; ++step) Step(step);
  EXPECT_TRUE(absl::IsUnavailable(TellAll()));
  EXPECT_THAT(server_.points(), IsEmpty());
  server_.Fail(std::nullopt);
  EXPECT_TRUE(TellAll().ok());
  EXPECT_EQ(server_.points().size(), 1500u);
  EXPECT_EQ(server_.points().back(), (Point{"loss", 1500, 1500}));
}

TEST_F(TellerTest, WhatIsRefusedKeepsNothingElseBack) {
  server_.RefuseParam("seed");
  Start();
  Step(1);
  EXPECT_TRUE(TellAll().ok());
  EXPECT_EQ(server_.points().size(), 1u);
  EXPECT_THAT(messages_, ElementsAre(HasSubstr("run r1"), HasSubstr("refuses some parameters")));
  EXPECT_TRUE(TellAll().ok());
  EXPECT_EQ(messages_.size(), 2u);
}

TEST_F(TellerTest, AnotherExperimentIsToldFromTheStart) {
  Start();
  Step(1);
  EXPECT_TRUE(TellAll().ok());
  record_.options.uri += "/";
  Write();
  EXPECT_TRUE(TellAll().ok());
  EXPECT_THAT(server_.points(), ElementsAre(Point{"loss", 1, 1}, Point{"loss", 1, 1}));
}

TEST_F(TellerTest, WithoutItsRecordsItDoesNotBegin) {
  std::ofstream(TrackingFolder(dir_.path()) + "/sent.json") << "{}";
  EXPECT_TRUE(absl::IsDataLoss(Teller::Make(dir_.path(), clock_, nullptr).status()));
  test::TempDir empty;
  EXPECT_TRUE(absl::IsNotFound(Teller::Make(empty.path(), clock_, nullptr).status()));
}

}  // namespace
}  // namespace llava::training
