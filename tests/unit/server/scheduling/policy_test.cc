// The policies in one place: fair share, cost model, waiting order, limits and request checks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/scheduling/cost_model.h"
#include "server/scheduling/fair_share.h"
#include "server/scheduling/limits.h"
#include "server/scheduling/request_check.h"
#include "server/scheduling/waiting_queue.h"

namespace llava::scheduling {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

TEST(FairShareTest, AReturningTenantIsLiftedToTheLeastServed) {
  FairShare share;
  Tenant* busy = share.Enter("busy");
  busy->counter = 1000;
  share.Enter("idle");
  EXPECT_EQ(share.tenants().at("idle").counter, 1000);
  share.Leave("idle");
  busy->counter = 5000;
  EXPECT_EQ(share.Enter("idle")->counter, 5000);
}

TEST(FairShareTest, LeavingDoesNotResetACounter) {
  FairShare share;
  share.Enter("modest")->counter = 10;
  share.Enter("greedy")->counter = 9000;
  share.Leave("greedy");
  EXPECT_EQ(share.Enter("greedy")->counter, 9000);
}

TEST(FairShareTest, RemembersABoundedNumberOfTenants) {
  FairShare share;
  for (int i = 0; i < kMaxTenants + 500; ++i) {
    const std::string name = absl::StrCat("tenant", i);
    share.Enter(name);
    share.Leave(name);
  }
  EXPECT_LE(share.tenants().size(), static_cast<std::size_t>(kMaxTenants));
}

TEST(CostModelTest, KnowsNothingAtFirstAndLearns) {
  CostModel model;
  const Work work{.prompt_tokens = 100, .images = 1, .decode_steps = 10};
  EXPECT_EQ(model.Estimate(work), Duration{});
  model.StepDone(200, 0, 2, milliseconds(60), milliseconds(100));
  model.StepDone(0, 4, 0, {}, milliseconds(7));
  EXPECT_EQ(model.Estimate(work), milliseconds(30 + 50 + 70));
}

class WaitingQueueTest : public ::testing::Test {
 protected:
  static SchedulerOptions Options() {
    SchedulerOptions options;
    options.aging = seconds(10);
    options.fair_share_slack = 100;
    return options;
  }

  Sequence* Add(int id, Priority priority, const char* tenant = "",
                Duration deadline = std::chrono::hours(1), int version = 0) {
    auto request = std::make_unique<Request>();
    request->id = RequestId(static_cast<std::uint64_t>(id));
    request->priority = priority;
    request->prompt_ids = {1};
    states_.push_back(MakeRequestState(std::move(request), &last_));
    states_.back()->urgency = TimePoint{} + deadline;
    states_.back()->tenant = share_.Enter(tenant);
    states_.back()->version = version;
    queue_.Add(states_.back()->choices[0].get());
    return states_.back()->choices[0].get();
  }
  Sequence* Best(Duration now = {}) {
    return queue_.Best(TimePoint{} + now, WaitingQueue::kAnyVersion);
  }

  WaitingQueue queue_{Options(), nullptr};
  FairShare share_;
  std::vector<std::unique_ptr<RequestState>> states_;
  std::uint64_t last_ = 0;
};

TEST_F(WaitingQueueTest, ClassThenDeadlineThenArrival) {
  Sequence* low = Add(1, Priority::kLow, "", seconds(1));
  Sequence* normal = Add(2, Priority::kNormal);
  Sequence* urgent = Add(3, Priority::kNormal, "", seconds(5));
  Sequence* high = Add(4, Priority::kHigh);
  for (Sequence* expected : {high, urgent, normal, low}) {
    ASSERT_EQ(Best(), expected);
    queue_.Remove(expected);
  }
  EXPECT_EQ(Best(), nullptr);
}

TEST_F(WaitingQueueTest, WaitingRaisesTheClass) {
  Add(1, Priority::kNormal);
  Sequence* low = Add(2, Priority::kLow, "", seconds(1));
  EXPECT_NE(Best(seconds(9)), low);
  EXPECT_EQ(queue_.ClassOf(*low, TimePoint{} + seconds(9)), 2);
  EXPECT_EQ(queue_.ClassOf(*low, TimePoint{} + seconds(10)), 1);
  EXPECT_EQ(queue_.ClassOf(*low, TimePoint{} + seconds(1000)), 0);
  EXPECT_EQ(Best(seconds(25)), low);
}

TEST_F(WaitingQueueTest, ATenantThatIsAheadWaits) {
  Sequence* greedy = Add(1, Priority::kNormal, "greedy", seconds(1));
  Sequence* modest = Add(2, Priority::kNormal, "modest", seconds(9));
  EXPECT_EQ(Best(), greedy);
  greedy->request->tenant->counter += 101;
  EXPECT_EQ(Best(), modest);
  modest->request->tenant->counter += 1;
  EXPECT_EQ(Best(), greedy);  // within the slack the deadline decides
}

TEST_F(WaitingQueueTest, PassesOverPausedOnesAndOtherVersions) {
  Sequence* paused = Add(1, Priority::kHigh);
  paused->request->paused = true;
  Sequence* other = Add(2, Priority::kNormal, "", seconds(100), /*version=*/1);
  Sequence* mine = Add(3, Priority::kLow);
  EXPECT_EQ(queue_.Best(TimePoint{}, 0), mine);
  EXPECT_EQ(queue_.Best(TimePoint{}, 1), other);
  EXPECT_EQ(Best(), other);
}

TEST(LimitsTest, NamesTheWrongField) {
  SchedulerOptions options;
  options.num_blocks = 10;
  EXPECT_TRUE(Validate(options).ok());
  options.max_running = options.max_batch_tokens + 1;
  EXPECT_EQ(Validate(options).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Validate(options).message()), HasSubstr("max_running is 513"));
  AdmissionOptions admission;
  EXPECT_TRUE(Validate(admission).ok());
  admission.per_tenant.pixels = 0;
  EXPECT_THAT(std::string(Validate(admission).message()), HasSubstr("per_tenant.pixels is 0"));
}

class CheckRequestTest : public ::testing::Test {
 protected:
  CheckRequestTest() {
    options_.num_blocks = 4;
    options_.max_context_tokens = 100;
    options_.feature_bytes_per_token = 10;
    options_.feature_cache_bytes = 80;
    request_.prompt_ids.assign(20, 7);
  }
  void ExpectInvalid(const char* text) {
    const absl::Status status = CheckRequest(request_, options_);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  void AddImage(int offset, int count) {
    request_.images.emplace_back();
    request_.images.back().offset = offset;
    request_.images.back().count = count;
  }
  SchedulerOptions options_;
  Request request_;
};

TEST_F(CheckRequestTest, Prompt) {
  EXPECT_TRUE(CheckRequest(request_, options_).ok());
  request_.prompt_ids.assign(64, 7);  // 4 blocks hold 64 tokens, and an answer needs one
  ExpectInvalid("the prompt has 64 tokens, expected fewer than 64");
  request_.prompt_ids.clear();
  ExpectInvalid("no tokens");
}

TEST_F(CheckRequestTest, Choices) {
  request_.n = 17;
  ExpectInvalid("n is 17, expected 1 to 16");
}

TEST_F(CheckRequestTest, Tenant) {
  request_.tenant.assign(300, 'x');
  ExpectInvalid("300 bytes");
}

TEST_F(CheckRequestTest, Images) {
  AddImage(0, 8);
  AddImage(8, 4);
  EXPECT_TRUE(CheckRequest(request_, options_).ok());
  AddImage(11, 2);
  ExpectInvalid("images[2] covers prompt tokens [11, 13)");
  request_.images.pop_back();
  AddImage(15, 6);
  ExpectInvalid("images[2]");
  request_.images.clear();
  AddImage(0, 9);
  ExpectInvalid("takes 90 bytes when encoded, expected at most 80");
}

TEST_F(CheckRequestTest, Sampling) {
  request_.sampling.top_p = 2;
  ExpectInvalid("top_p");
}

}  // namespace
}  // namespace llava::scheduling
