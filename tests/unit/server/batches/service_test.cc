#include "server/batches/service.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "tests/support/batch_file.h"
#include "tests/support/temp_dir.h"

namespace llava::batches {
namespace {

// Answers when it is told to.
class FakeServer {
 public:
  RowAsker Asker() {
    return [this](RowCall call, std::function<void(RowResponse)> done) {
      MutexLock lock(&mutex_);
      const std::string id = call.request_id;
      tenants_.push_back(call.tenant);
      most_ = std::max(most_, calls_.size() + 1);
      calls_[id] = std::move(done);
      changed_.NotifyAll();
      return [this, id] { Answer(id, 499); };
    };
  }

  // Waits for a call, and answers one.
  std::string AnswerOne(int status) {
    std::string id;
    {
      MutexLock lock(&mutex_);
      while (calls_.empty()) changed_.Wait(&mutex_);
      id = calls_.begin()->first;
    }
    Answer(id, status);
    return id;
  }

  void Answer(const std::string& id, int status) {
    std::function<void(RowResponse)> done;
    {
      MutexLock lock(&mutex_);
      const auto found = calls_.find(id);
      if (found == calls_.end()) return;
      done = std::move(found->second);
      calls_.erase(found);
    }
    done({.answer = {.status = status, .body = "{}"}, .retry_after = std::chrono::nanoseconds(1)});
  }

  void WaitForCalls(std::size_t count) {
    MutexLock lock(&mutex_);
    while (calls_.size() < count) changed_.Wait(&mutex_);
  }

  std::size_t most() {
    MutexLock lock(&mutex_);
    return most_;
  }
  std::vector<std::string> tenants() {
    MutexLock lock(&mutex_);
    return tenants_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, std::function<void(RowResponse)>> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> tenants_ ABSL_GUARDED_BY(mutex_);
  std::size_t most_ ABSL_GUARDED_BY(mutex_) = 0;
};

class BatchServiceTest : public ::testing::Test {
 protected:
  void Start(int in_flight) {
    service_ =
        BatchService::Open({.store = {.dir = dir_.path() + "/b"}, .in_flight = in_flight}, &clock_)
            .value();
    service_->Start(server_.Asker(), [this] { return ready_.load(); });
  }

  // What `work` says, in the service's thread.
  template <typename Work>
  auto Do(Work work) {
    std::optional<decltype(work())> result;
    Mutex mutex;
    CondVar changed;
    service_->Post([&] {
      auto value = work();
      MutexLock lock(&mutex);
      result = std::move(value);
      changed.NotifyAll();
    });
    MutexLock lock(&mutex);
    while (!result.has_value()) changed.Wait(&mutex);
    return *std::move(result);
  }

  std::string Make(const std::string& tenant, int rows, std::int64_t lifetime = 3600) {
    std::string content;
    for (int i = 0; i < rows; ++i) {
      absl::StrAppend(&content, R"({"custom_id":")", i,
                      R"(","method":"POST","url":"/v1/score","body":{}})", "\n");
    }
    return Do([&] {
      const File file = test::AddFile(service_->store(), {.tenant = tenant}, content, 0).value();
      return service_
          ->Create({.tenant = tenant,
                    .endpoint = "/v1/score",
                    .window = "1h",
                    .input = file.id,
                    .expires = service_->store().Now() + lifetime})
          .value()
          .id;
    });
  }

  Batch Get(const std::string& id) {
    return Do([&] { return service_->store().batches().at(id); });
  }

  // Each look lets the service's thread make a turn.
  Batch AwaitEnd(const std::string& id) {
    Batch batch = Get(id);
    while (!HasEnded(batch.state)) batch = Get(id);
    return batch;
  }

  const test::TempDir dir_;
  RealClock clock_;
  FakeServer server_;
  std::atomic<bool> ready_ = true;
  std::unique_ptr<BatchService> service_;
};

TEST_F(BatchServiceTest, SoManyRowsAreInFlightAndAllAreAnswered) {
  Start(3);
  const std::string id = Make("ann", 20);
  server_.WaitForCalls(3);
  for (int i = 0; i < 20; ++i) server_.AnswerOne(i == 7 ? 400 : 200);
  const Batch batch = AwaitEnd(id);
  EXPECT_EQ(batch.state, BatchState::kCompleted);
  EXPECT_EQ(batch.completed, 19);
  EXPECT_EQ(batch.failed, 1);
  EXPECT_EQ(server_.most(), 3u);
}

TEST_F(BatchServiceTest, TenantsTakeTurns) {
  ready_ = false;
  Start(2);
  Make("ann", 50);
  Make("ann", 50);
  Make("bob", 2);
  EXPECT_TRUE(server_.tenants().empty());
  ready_ = true;
  server_.WaitForCalls(2);
  EXPECT_EQ(server_.tenants(), (std::vector<std::string>{"ann", "bob"}));
}

TEST_F(BatchServiceTest, WhatTheServerHasNoRoomForIsAskedAgain) {
  Start(2);
  const std::string id = Make("ann", 4);
  for (const int status : {429, 503, 429}) server_.AnswerOne(status);
  for (int i = 0; i < 4; ++i) server_.AnswerOne(200);
  const Batch batch = AwaitEnd(id);
  EXPECT_EQ(batch.completed, 4);
  EXPECT_EQ(batch.failed, 0);
}

TEST_F(BatchServiceTest, ATenantThatIsRefusedSlowsDownNobodyElse) {
  ready_ = false;
  Start(4);
  const std::string ann = Make("ann", 10);
  Make("bob", 10);
  ready_ = true;
  server_.WaitForCalls(4);
  for (const char* row : {".1", ".2"}) server_.Answer(ann + row, 429);
  server_.WaitForCalls(4);
}

TEST_F(BatchServiceTest, BehindOthersOfItsTenantABatchExpiresToo) {
  Start(1);
  for (int i = 0; i < 4; ++i) Make("ann", 1);
  const std::string waiting = Make("ann", 1);
  EXPECT_EQ(AwaitEnd(Make("ann", 1, 0)).state, BatchState::kExpired);
  EXPECT_EQ(Get(waiting).state, BatchState::kValidating);
}

TEST_F(BatchServiceTest, CancellingEndsWhatIsInFlight) {
  Start(2);
  const std::string id = Make("ann", 10);
  server_.WaitForCalls(2);
  const auto batch = Do([&] { return service_->Cancel("ann", id); });
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->state, BatchState::kCancelling);
  EXPECT_EQ(AwaitEnd(id).state, BatchState::kCancelled);
  EXPECT_EQ(Do([&] { return service_->Cancel("ann", id); })->state, BatchState::kCancelled);
  EXPECT_TRUE(absl::IsNotFound(Do([&] { return service_->Cancel("bob", id); }).status()));
}

TEST_F(BatchServiceTest, ADrainLeavesTheRestForTheNextStart) {
  Start(2);
  const std::string id = Make("ann", 5);
  server_.AnswerOne(200);
  server_.WaitForCalls(2);
  service_->Stop();
  service_.reset();
  Start(2);
  for (int i = 0; i < 4; ++i) server_.AnswerOne(200);
  const Batch batch = AwaitEnd(id);
  EXPECT_EQ(batch.state, BatchState::kCompleted);
  EXPECT_EQ(batch.completed, 5);
}

TEST_F(BatchServiceTest, ACompletedOneCannotBeCancelled) {
  Start(1);
  const std::string id = Make("ann", 1);
  server_.AnswerOne(200);
  AwaitEnd(id);
  EXPECT_TRUE(absl::IsInvalidArgument(Do([&] { return service_->Cancel("ann", id); }).status()));
}

}  // namespace
}  // namespace llava::batches
