#include "server/chat/prepare_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace llava::api {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;

class PrepareQueueTest : public ::testing::Test {
 protected:
  PrepareQueue::Job Job(const std::string& name) {
    return [this, name] { ran_.push_back(name); };
  }

  // Takes the next one, runs it and charges its tenant.
  std::string Next(Duration cpu_time = seconds(1), bool texts_only = false) {
    auto taken = queue_.Pop(texts_only);
    if (!taken) return "none";
    taken->job();
    queue_.Done(taken->tenant, cpu_time);
    return ran_.back();
  }

  PrepareQueue queue_{100};
  std::vector<std::string> ran_;
};

TEST_F(PrepareQueueTest, JobsOfOneTenantKeepTheirOrder) {
  EXPECT_TRUE(queue_.TryPush("alice", Job("1")));
  queue_.PushPicture("alice", Job("2"));
  EXPECT_TRUE(queue_.TryPush("alice", Job("3")));
  queue_.PushPicture("alice", Job("4"));
  EXPECT_EQ(queue_.waiting(), 4u);
  while (Next() != "none") {
  }
  EXPECT_THAT(ran_, ElementsAre("1", "2", "3", "4"));
  EXPECT_EQ(queue_.waiting(), 0u);
}

TEST_F(PrepareQueueTest, TextsPassPicturesWhereTextsAloneAreAskedFor) {
  queue_.PushPicture("alice", Job("picture"));
  EXPECT_EQ(Next({}, /*texts_only=*/true), "none");
  EXPECT_TRUE(queue_.TryPush("alice", Job("text")));
  EXPECT_EQ(Next({}, /*texts_only=*/true), "text");
  EXPECT_EQ(Next(), "picture");
}

TEST_F(PrepareQueueTest, WhoHasHadLeastIsNext) {
  for (int i = 0; i < 10; ++i) queue_.PushPicture("mallory", Job("mallory"));
  EXPECT_EQ(Next(seconds(5)), "mallory");
  EXPECT_EQ(Next(seconds(5)), "mallory");
  for (int i = 0; i < 3; ++i) queue_.PushPicture("bob", Job("bob"));
  EXPECT_EQ(Next(seconds(5)), "mallory");  // as old as bob, who is not owed her past
  EXPECT_EQ(Next(seconds(3)), "bob");
  EXPECT_EQ(Next(seconds(3)), "bob");
  EXPECT_EQ(Next(seconds(5)), "mallory");
  EXPECT_EQ(Next(seconds(3)), "bob");
}

// While her jobs run nobody knows what they cost: others go first.
TEST_F(PrepareQueueTest, OfTwoWhoHaveHadTheSameWhoHasFewerRunningIsNext) {
  for (int i = 0; i < 10; ++i) queue_.PushPicture("mallory", Job("mallory"));
  ASSERT_EQ(queue_.Pop(false)->tenant, "mallory");
  ASSERT_EQ(queue_.Pop(false)->tenant, "mallory");
  queue_.PushPicture("bob", Job("bob"));
  EXPECT_EQ(queue_.Pop(false)->tenant, "bob");
  EXPECT_EQ(queue_.Pop(false)->tenant, "mallory");
}

// Who sends a costly picture whenever the one before is done has no more time than who has cheap
// ones waiting.
TEST_F(PrepareQueueTest, NobodyGainsByComingAndGoing) {
  for (int i = 0; i < 100; ++i) queue_.PushPicture("bob", Job("bob"));
  queue_.PushPicture("mallory", Job("mallory"));
  int bob = 0, mallory = 0;
  while (bob < 50) {
    auto taken = queue_.Pop(false);
    const bool is_bob = taken->tenant == "bob";
    ++(is_bob ? bob : mallory);
    queue_.Done(taken->tenant, is_bob ? seconds(1) : seconds(5));
    if (!is_bob) queue_.PushPicture("mallory", Job("mallory"));
  }
  EXPECT_NEAR(mallory, 10, 1);
}

TEST_F(PrepareQueueTest, ATenantAloneHasHalfTheRoomAndOthersFindSome) {
  PrepareQueue queue(8);
  int mallory = 0;
  while (queue.TryPush("mallory", [] {})) ++mallory;
  EXPECT_EQ(mallory, 4);
  int bob = 0;
  while (queue.TryPush("bob", [] {})) ++bob;
  EXPECT_EQ(bob, 2);
  EXPECT_TRUE(queue.TryPush("carol", [] {}));
  EXPECT_FALSE(queue.TryPush("mallory", [] {}));
  queue.PushPicture("mallory", [] {});  // was let in before
  EXPECT_EQ(queue.waiting(), 8u);
  EXPECT_FALSE(queue.TryPush("dave", [] {}));
}

}  // namespace
}  // namespace llava::api
