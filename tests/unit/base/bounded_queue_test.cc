#include "base/bounded_queue.h"

#include <memory>
#include <thread>

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

}  // namespace
}  // namespace llava
