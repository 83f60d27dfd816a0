#include "base/bounded_queue.h"

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace llava {
namespace {

TEST(BoundedQueueTest, RefusesWhenFullAndLeavesTheItemAlone) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(**queue.TryPop(), 1);
  EXPECT_FALSE(queue.TryPop().has_value());
}

TEST(BoundedQueueTest, CloseHandsOutWhatIsLeft) {
  BoundedQueue<int> queue(4);
  EXPECT_TRUE(queue.TryPush(1));
  queue.Close();
  EXPECT_FALSE(queue.Push(2));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueueTest, ManyThreadsLoseNothing) {
  BoundedQueue<int> queue(3);
  constexpr int kEach = 2000;
  std::int64_t sum = 0;
  {
    std::jthread consumer([&] {
      while (auto item = queue.Pop()) sum += *item;
    });
    {
      std::jthread a([&] {
        for (int i = 1; i <= kEach; ++i) queue.Push(int{i});
      });
      std::jthread b([&] {
        for (int i = 1; i <= kEach; ++i) queue.Push(int{i});
      });
    }
    queue.Close();
  }
  EXPECT_EQ(sum, std::int64_t{kEach} * (kEach + 1));
}

TEST(BoundedQueueTest, HandsOutInOrderAndHasRoomAgain) {
  BoundedQueue<int> queue(2);
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_TRUE(queue.TryPush(4));
  EXPECT_EQ(queue.PopAll(), (std::vector<int>{2, 4}));
  EXPECT_TRUE(queue.PopAll().empty());
  EXPECT_TRUE(queue.TryPush(5));
  EXPECT_EQ(queue.TryPop(), 5);
}

TEST(BoundedQueueTest, ClosedItTakesNothing) {
  BoundedQueue<int> queue(2);
  queue.Close();
  EXPECT_FALSE(queue.TryPush(1));
  EXPECT_EQ(queue.TryPop(), std::nullopt);
  queue.WaitUntil(TimePoint::max());  // nothing to wait for
}

// Each of these waits for ever when nobody wakes it.
TEST(BoundedQueueTest, RoomAndItemsAndTheEndWakeThoseWhoWait) {
  BoundedQueue<int> queue(1);
  ASSERT_TRUE(queue.TryPush(1));
  {
    std::jthread producer([&] { EXPECT_TRUE(queue.Push(2)); });
    EXPECT_EQ(queue.Pop(), 1);
  }
  {
    std::jthread producer([&] { EXPECT_TRUE(queue.Push(3)); });
    EXPECT_EQ(queue.PopAll(), std::vector<int>{2});
  }
  EXPECT_EQ(queue.TryPop(), 3);
  {
    std::jthread reader([&] {
      queue.WaitUntil(TimePoint::max());
      EXPECT_EQ(queue.TryPop(), 4);
    });
    EXPECT_TRUE(queue.Push(4));
  }
  std::jthread waiting([&] { EXPECT_EQ(queue.Pop(), std::nullopt); });
  queue.Close();
}

// So often that the producer waits for room at least once, and then for ever if nobody wakes it.
TEST(BoundedQueueTest, TakingEverythingWakesThoseWhoWaitForRoom) {
  constexpr int kItems = 5000;
  BoundedQueue<int> queue(1);
  std::jthread producer([&] {
    for (int i = 0; i < kItems; ++i) queue.Push(int{i});
  });
  int taken = 0;
  while (taken < kItems) {
    queue.WaitUntil(TimePoint::max());
    for (const int item : queue.PopAll()) ASSERT_EQ(item, taken++);
  }
}

TEST(BoundedQueueTest, WaitsNoLongerThanTheDeadline) {
  RealClock clock;
  BoundedQueue<int> queue(1);
  const TimePoint deadline = clock.Now() + std::chrono::milliseconds(5);
  queue.WaitUntil(deadline);
  EXPECT_GE(clock.Now(), deadline);
  ASSERT_TRUE(queue.TryPush(1));
  queue.WaitUntil(TimePoint::max());
  EXPECT_EQ(queue.size(), 1u);
}

}  // namespace
}  // namespace llava
