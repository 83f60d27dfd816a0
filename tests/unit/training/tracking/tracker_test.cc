#include "training/tracking/tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

class TrackerTest : public ::testing::Test {
 protected:
  TrackerTest() {
    times_.look = times_.first_wait = times_.longest_wait = std::chrono::milliseconds(2);
    options_ = {.uri = server_.uri(), .experiment = "flags", .run_name = "night"};
  }

  void Start() {
    tracker_ = std::make_unique<Tracker>(
        dir_.path(), *OpenRecord(dir_.path(), options_, clock_), clock_,
        [this](const std::string& line) {
          MutexLock lock(&mutex_);
          messages_.push_back(line);
          changed_.NotifyAll();
        },
        times_);
  }

  void Step(int step) {
    std::ofstream(dir_.path() + "/metrics.jsonl", std::ios::app)
        << absl::StrCat(R"({"total_step":)", step, R"(,"unix_ms":1,"loss":)", step, "}\n");
  }

  std::vector<std::string> messages() {
    MutexLock lock(&mutex_);
    return messages_;
  }

  // The messages, once there are so many of them.
  std::vector<std::string> WaitForMessages(std::size_t count) {
    const TimePoint deadline = clock_.Now() + std::chrono::seconds(100);
    MutexLock lock(&mutex_);
    while (messages_.size() < count && clock_.Now() < deadline) {
      changed_.WaitUntil(&mutex_, deadline);
    }
    return messages_;
  }

  RealClock clock_;
  test::FakeMlflow server_;
  test::TempDir dir_;
  TrackerTimes times_;
  MlflowOptions options_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::string> messages_;
  std::unique_ptr<Tracker> tracker_;
};

TEST_F(TrackerTest, AtTheEndOfARunTheServerKnowsAllOfIt) {
  Start();
  for (int step = 1; step <= 300; ++step) Step(step);
  tracker_->Finish(kFinished, {{"llava.checkpoint", "abc"}});
  EXPECT_EQ(server_.points().size(), 300u);
  EXPECT_THAT(server_.tags(), ElementsAre(Pair("llava.checkpoint", "abc")));
  EXPECT_THAT(server_.statuses(), ElementsAre("RUNNING", "FINISHED"));
  EXPECT_THAT(messages(), ElementsAre(HasSubstr("MLflow: run r1")));
}

TEST_F(TrackerTest, OneMessageThatItIsDownAndOneThatItIsBack) {
  server_.Fail(test::HttpText(503, R"({"message":"maintenance"})"));
  Start();
  EXPECT_THAT(WaitForMessages(1),
              ElementsAre(HasSubstr("HTTP 503: maintenance; training goes on")));
  Step(1);
  server_.Fail(std::nullopt);
  EXPECT_THAT(WaitForMessages(3).back(), HasSubstr("takes what it is told again"));
  tracker_->Finish(kFailed, {});
  EXPECT_EQ(server_.points().size(), 1u);
  EXPECT_THAT(server_.statuses(), ElementsAre("RUNNING", "FAILED"));
  EXPECT_EQ(messages().size(), 3u);
}

TEST_F(TrackerTest, WhatItCouldNotTellIsToldLater) {
  server_.Fail(test::HttpText(500, "{}"));
  Start();
  Step(1);
  tracker_->Finish(kFinished, {});
  EXPECT_THAT(messages().back(), HasSubstr("llava-train track " + dir_.path()));
  tracker_.reset();
  EXPECT_FALSE(TellTheRest(dir_.path(), kKilled, clock_, [](const auto&) {}).ok());
  server_.Fail(std::nullopt);
  EXPECT_TRUE(TellTheRest(dir_.path(), kKilled, clock_, [](const auto&) {}).ok());
  EXPECT_EQ(server_.points().size(), 1u);
  EXPECT_THAT(server_.statuses(), ElementsAre("RUNNING", "FINISHED"));
  EXPECT_TRUE(TellTheRest(dir_.path(), kKilled, clock_, [](const auto&) {}).ok());
  EXPECT_EQ(server_.points().size(), 1u);
}

TEST_F(TrackerTest, WhoDidNotSayHowItEndedWasKilled) {
  Start();
  WaitForMessages(1);
  tracker_.reset();
  EXPECT_TRUE(TellTheRest(dir_.path(), kKilled, clock_, [](const auto&) {}).ok());
  EXPECT_THAT(server_.statuses(), ElementsAre("RUNNING", "KILLED"));
}

TEST_F(TrackerTest, OneThatNeverAnswersDelaysAnEndByNoMoreThanTheLastWords) {
  boost::asio::io_context context;
  boost::asio::ip::tcp::acceptor acceptor(context, {boost::asio::ip::address_v4::loopback(), 0});
  options_.uri = absl::StrCat("http://127.0.0.1:", acceptor.local_endpoint().port());
  times_.last_words = std::chrono::milliseconds(20);
  Start();
  const boost::asio::ip::tcp::socket silent = acceptor.accept();
  tracker_->Finish(kFinished, {});
  tracker_.reset();
  EXPECT_THAT(messages(), ElementsAre(HasSubstr("tells it the rest")));
}

TEST_F(TrackerTest, AMissingTokenEndsNoRun) {
  options_.token_file = dir_.path() + "/token";
  Start();
  EXPECT_THAT(WaitForMessages(1), ElementsAre(HasSubstr("/token")));
  std::ofstream(options_.token_file) << "late";
  WaitForMessages(3);
  tracker_->Finish(kFinished, {});
  EXPECT_EQ(server_.authorization(), "Bearer late");
  EXPECT_THAT(server_.statuses(), ElementsAre("RUNNING", "FINISHED"));
}

TEST_F(TrackerTest, AFullDiskEndsNoRun) {
  std::ofstream(dir_.path() + "/tracking") << "no folder";
  RunRecord record;
  record.options = options_;
  tracker_ = std::make_unique<Tracker>(
      dir_.path(), record, clock_,
      [this](const std::string& line) {
        MutexLock lock(&mutex_);
        messages_.push_back(line);
      },
      times_);
  tracker_->Finish(kFinished, {});
  EXPECT_THAT(messages(), Contains(HasSubstr("/tracking")));
  EXPECT_THAT(server_.statuses(), IsEmpty());
}

}  // namespace
}  // namespace llava::training
