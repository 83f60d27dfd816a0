#include "server/observe/health.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace llava::observe {
namespace {

TEST(HealthTest, StartsNotReadyAndSaysWhy) {
  Health health;
  EXPECT_FALSE(health.state().ready);
  EXPECT_EQ(health.state().reason, "starting");
  health.SetReady();
  EXPECT_TRUE(health.state().ready);
  EXPECT_EQ(health.state().reason, "");
  health.SetNotReady("a swap");
  EXPECT_FALSE(health.state().ready);
  EXPECT_EQ(health.state().reason, "a swap");
}

TEST(HealthTest, AfterADrainItNeverIsReadyAgain) {
  Health health;
  health.SetReady();
  health.Drain();
  health.SetReady();
  health.SetNotReady("something else");
  EXPECT_FALSE(health.state().ready);
  EXPECT_EQ(health.state().reason, "draining");
}

TEST(HealthTest, TheListenerHearsTheStateAndEachChange) {
  Health health;
  std::vector<std::string> heard;
  health.Listen([&heard](const Health::State& state) {
    heard.push_back(state.ready ? "ready" : state.reason);
  });
  health.SetReady();
  health.Drain();
  health.SetReady();
  EXPECT_EQ(heard, (std::vector<std::string>{"starting", "ready", "draining"}));
  health.Listen(nullptr);
  health.Drain();
  EXPECT_EQ(heard.size(), 3u);
}

}  // namespace
}  // namespace llava::observe
