#include "server/scheduling/waiting_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace llava::scheduling {
namespace {

using std::chrono::seconds;

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

}  // namespace
}  // namespace llava::scheduling
