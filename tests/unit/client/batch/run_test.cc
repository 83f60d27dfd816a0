#include "client/batch/run.h"

#include <grpcpp/create_channel.h>

#include <fstream>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/client/fake_server.h"

namespace llava::client {
namespace {

using testing::HasSubstr;

// Answers with the question, after as many refusals as it is told.
class Echo final : public v1::ChatService::Service {
 public:
  grpc::Status Chat(grpc::ServerContext*, const v1::ChatRequest* request,
                    v1::ChatResponse* response) override {
    const std::string& question = request->messages(0).parts(0).text();
    {
      MutexLock lock(&mutex_);
      most_ = std::max(most_, ++under_way_);
      priorities_.insert(request->priority());
    }
    const grpc::Status status = Refusal(question);
    if (status.ok()) {
      response->add_choices()->set_text(absl::StrCat("re: ", question));
      response->mutable_choices(0)->set_finish_reason(v1::FINISH_REASON_STOP);
    }
    MutexLock lock(&mutex_);
    --under_way_;
    ++asked_[question];
    return status;
  }

  void Refuse(const std::string& question, grpc::Status status, int times) {
    MutexLock lock(&mutex_);
    refusals_[question] = {std::move(status), times};
  }

  int asked(const std::string& question) {
    MutexLock lock(&mutex_);
    return asked_[question];
  }
  int most() {
    MutexLock lock(&mutex_);
    return most_;
  }

 private:
  grpc::Status Refusal(const std::string& question) {
    MutexLock lock(&mutex_);
    const auto found = refusals_.find(question);
    if (found == refusals_.end() || found->second.second-- <= 0) return grpc::Status::OK;
    return found->second.first;
  }

  Mutex mutex_;
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<int> priorities_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> asked_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::pair<grpc::Status, int>> refusals_ ABSL_GUARDED_BY(mutex_);
};

class BatchRunTest : public testing::Test {
 protected:
  BatchRunTest() {
    options_.input = dir_.path() + "/rows.jsonl";
    options_.concurrency = 8;
  }

  void WriteRows(int count) {
    std::ofstream rows(options_.input);
    for (int i = 0; i < count; ++i) {
      rows << "{\"id\": \"" << i << "\", \"prompt\": \"q" << i << "\"}\n";
    }
  }

  absl::Status Run() {
    auto output = BatchOutput::Open(answers_);
    EXPECT_TRUE(output.ok()) << output.status();
    const auto stub = v1::ChatService::NewStub(
        grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()));
    const RealClock clock;
    BatchRun run(
        &options_, &*output, stub.get(), [](grpc::ClientContext*) {}, &clock,
        [](const BatchProgress&) {});
    const absl::Status status = run.Run();
    progress_ = run.progress();
    return status;
  }

  // Lines of the output, by id.
  std::map<std::string, std::string> Rows() const {
    std::map<std::string, std::string> rows;
    std::ifstream file(answers_);
    for (std::string line; std::getline(file, line);) {
      const std::string id = line.substr(7, line.find('"', 7) - 7);
      EXPECT_TRUE(rows.emplace(id, line).second) << id << " stands there twice";
    }
    return rows;
  }

  test::TempDir dir_;
  const std::string answers_ = dir_.path() + "/answers.jsonl";
  BatchOptions options_;
  BatchProgress progress_;
  Echo echo_;
  FakeServer server_{&echo_};
};

TEST_F(BatchRunTest, EveryRowIsAnsweredAndABoundedNumberIsUnderWay) {
  WriteRows(100);
  ASSERT_TRUE(Run().ok());
  const auto rows = Rows();
  ASSERT_EQ(rows.size(), 100u);
  for (const auto& [id, row] : rows) EXPECT_THAT(row, HasSubstr("re: q" + id + "\""));
  EXPECT_LE(echo_.most(), 8);
  EXPECT_EQ(progress_.answered, 100);
  EXPECT_EQ(progress_.total, 100);
}

TEST_F(BatchRunTest, AnotherRunAsksForWhatIsMissing) {
  WriteRows(5);
  ASSERT_TRUE(Run().ok());
  WriteRows(8);
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(Rows().size(), 8u);
  EXPECT_EQ(echo_.asked("q3"), 1);
  EXPECT_EQ(echo_.asked("q6"), 1);
  EXPECT_EQ(progress_.before, 5);
  EXPECT_EQ(progress_.answered, 3);
}

TEST_F(BatchRunTest, WhatIsFullOrAwayIsAskedAgain) {
  WriteRows(4);
  echo_.Refuse("q1", {grpc::RESOURCE_EXHAUSTED, "the queue is full", "details"}, 2);
  echo_.Refuse("q2", {grpc::UNAVAILABLE, "draining"}, 1);
  // The server is known to be there: without an answer the first "away" would end the run.
  options_.concurrency = 1;
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(echo_.asked("q1"), 3);
  EXPECT_EQ(echo_.asked("q2"), 2);
  EXPECT_EQ(progress_.answered, 4);
}

TEST_F(BatchRunTest, WhatIsRefusedForItselfIsARow) {
  WriteRows(4);
  echo_.Refuse("q1", {grpc::INVALID_ARGUMENT, "not a picture"}, 9);
  echo_.Refuse("q2", {grpc::RESOURCE_EXHAUSTED, "larger than max"}, 9);
  ASSERT_TRUE(Run().ok());
  const auto rows = Rows();
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_THAT(rows.at("1"), HasSubstr("\"error\":\"not a picture\""));
  EXPECT_THAT(rows.at("2"), HasSubstr("\"error\":\"larger than max\""));
  EXPECT_EQ(echo_.asked("q1"), 1);
  EXPECT_EQ(progress_.failed, 2);
}

TEST_F(BatchRunTest, ARequestThatTakesTooLongIsTriedThreeTimes) {
  WriteRows(1);
  echo_.Refuse("q0", {grpc::DEADLINE_EXCEEDED, "too slow"}, 9);
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(echo_.asked("q0"), 3);
  EXPECT_THAT(Rows().at("0"), HasSubstr("too slow"));
}

TEST_F(BatchRunTest, ATokenThatIsRefusedEndsTheRunWithoutARow) {
  WriteRows(50);
  echo_.Refuse("q20", {grpc::PERMISSION_DENIED, "no role"}, 9);
  EXPECT_EQ(Run().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_FALSE(Rows().contains("20"));
}

TEST_F(BatchRunTest, AServerThatIsNotThereIsSaidAtOnce) {
  WriteRows(3);
  for (const char* question : {"q0", "q1", "q2"}) {
    echo_.Refuse(question, {grpc::UNAVAILABLE, "nobody"}, 99);
  }
  EXPECT_EQ(Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Rows().empty());
}

TEST_F(BatchRunTest, IdsThatOccurTwiceAreAnErrorBeforeAnythingIsAsked) {
  std::ofstream(options_.input)
      << "{\"id\": 1, \"prompt\": \"a\"}\n{\"id\": \"1\", \"prompt\": \"b\"}\n";
  const absl::Status status = Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the id \"1\" occurs twice"));
  EXPECT_EQ(echo_.asked("a"), 0);
  std::ofstream(options_.input, std::ios::trunc) << "\n";
  EXPECT_EQ(Run().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::client
