#include "base/rng.h"

#include <map>
#include <vector>

#include "gtest/gtest.h"

namespace llava {
namespace {

TEST(RngTest, SameSeedSameStreamAndStateRoundTrips) {
  Rng a(42);
  Rng b(42);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.Next(), b.Next());
  Rng c(a.state());
  EXPECT_EQ(a.Next(), c.Next());
  EXPECT_NE(Rng(1).Next(), Rng(2).Next());
}

TEST(RngTest, BetweenCoversItsWholeRangeAndNothingElse) {
  Rng rng(3);
  std::vector<int> seen(5);
  for (int i = 0; i < 5000; ++i) {
    const auto value = rng.Between(-2, 2);
    ASSERT_GE(value, -2);
    ASSERT_LE(value, 2);
    ++seen[static_cast<std::size_t>(value + 2)];
  }
  for (const int count : seen) EXPECT_GT(count, 850);
}

TEST(RngTest, EachOrderIsAsLikely) {
  Rng rng(6);
  std::map<std::vector<int>, int> seen;
  for (int i = 0; i < 6000; ++i) {
    std::vector<int> items = {1, 2, 3};
    rng.Shuffle(items);
    ++seen[items];
  }
  EXPECT_EQ(seen.size(), 6u);
  for (const auto& [order, count] : seen) EXPECT_NEAR(count, 1000, 150);
}

TEST(RngTest, NormalHasMeanZeroAndVarianceOne) {
  Rng rng(4);
  double sum = 0, squares = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.Normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 0.02);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.03);
}

}  // namespace
}  // namespace llava
