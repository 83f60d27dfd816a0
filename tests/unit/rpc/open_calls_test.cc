#include "rpc/open_calls.h"

#include <gtest/gtest.h>

#include <vector>

namespace llava::rpc {
namespace {

TEST(OpenCallsTest, OneMoreEndsTheOldest) {
  OpenCalls calls(2);
  std::vector<int> ended;
  const auto enter = [&](int n) { return calls.Enter([&ended, n] { ended.push_back(n); }); };
  const auto first = enter(1);
  const auto second = enter(2);
  EXPECT_TRUE(ended.empty());
  const auto third = enter(3);
  EXPECT_EQ(ended, std::vector<int>{1});
  calls.Leave(second);
  const auto fourth = enter(4);  // in place of the second
  EXPECT_EQ(ended, std::vector<int>{1});
  calls.Leave(first);  // was evicted: makes no room
  const auto fifth = enter(5);
  EXPECT_EQ(ended, (std::vector<int>{1, 3}));
  for (const auto& id : {third, fourth, fifth}) calls.Leave(id);
}

}  // namespace
}  // namespace llava::rpc
