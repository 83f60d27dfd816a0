#include "server/scheduling/cost_model.h"

#include <gtest/gtest.h>

#include <string>

namespace llava::scheduling {
namespace {

using std::chrono::milliseconds;

TEST(CostModelTest, KnowsNothingAtFirstAndLearns) {
  CostModel model;
  const Work work{.prompt_tokens = 100, .images = 1, .decode_steps = 10};
  EXPECT_EQ(model.Estimate(work), Duration{});
  model.StepDone(200, 0, 2, milliseconds(60), milliseconds(100));
  model.StepDone(0, 4, 0, {}, milliseconds(7));
  EXPECT_EQ(model.Estimate(work), milliseconds(30 + 50 + 70));
}

}  // namespace
}  // namespace llava::scheduling
