#include "base/gate.h"

#include <thread>

#include "gtest/gtest.h"

namespace llava {
namespace {

TEST(GateTest, WaitsForThoseInsideAndRefusesNewcomers) {
  RealClock clock;
  Gate gate;
  ASSERT_TRUE(gate.Enter());
  EXPECT_FALSE(gate.CloseAndWait(clock.Now()));
  EXPECT_FALSE(gate.Enter());
  std::jthread leaver([&] { gate.Leave(); });
  EXPECT_TRUE(gate.CloseAndWait(clock.Now() + std::chrono::seconds(30)));
}

TEST(GateTest, OpenItIsNoLimitAndCounts) {
  RealClock clock;
  Gate gate;
  EXPECT_EQ(gate.inside(), 0);
  ASSERT_TRUE(gate.Enter());
  ASSERT_TRUE(gate.Enter());
  EXPECT_EQ(gate.inside(), 2);
  gate.Leave();
  EXPECT_EQ(gate.inside(), 1);
  EXPECT_FALSE(gate.CloseAndWait(clock.Now()));  // the second is still there
  gate.Leave();
  EXPECT_EQ(gate.inside(), 0);
  EXPECT_TRUE(gate.CloseAndWait(clock.Now()));  // nobody to wait for
}

TEST(GateTest, ClosedItLetsThoseInsideGoOn) {
  Gate gate;
  ASSERT_TRUE(gate.Enter());
  gate.Close();
  EXPECT_FALSE(gate.Enter());
  EXPECT_EQ(gate.inside(), 1);
  gate.Leave();
  EXPECT_FALSE(gate.Enter());
}

TEST(GateTest, LeavingTwiceIsOurBug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Gate gate;
  EXPECT_DEATH(gate.Leave(), "inside_");
  EXPECT_DEATH(
      {
        Gate left_behind;
        static_cast<void>(left_behind.Enter());
      },
      "inside_");
}

}  // namespace
}  // namespace llava
