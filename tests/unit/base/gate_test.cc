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

}  // namespace
}  // namespace llava
