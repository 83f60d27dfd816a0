#include "training/recipe/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/rng.h"

namespace llava::training {
namespace {

// Seed and ranges are fixed: any failure repeats.
TEST(ScheduleTest, RisesToThePeakAndFallsToTheFloor) {
  Rng rng(7);
  for (int round = 0; round < 200; ++round) {
    ScheduleOptions options;
    options.kind = rng.Chance(0.5) ? ScheduleKind::kCosine : ScheduleKind::kLinear;
    options.warmup_ratio = 0.3 * rng.Uniform();
    options.floor = rng.Chance(0.5) ? 0.0 : 0.5 * rng.Uniform();
    const std::int64_t total = rng.Between(1, 500);
    const std::int64_t warmup = WarmupSteps(options, total);
    for (std::int64_t step = 0; step < total; ++step) {
      const double now = ScheduleFactor(options, step, total);
      const double next = ScheduleFactor(options, step + 1, total);
      EXPECT_GE(now, 0.0);
      EXPECT_LE(now, 1.0);
      if (step < warmup) {
        EXPECT_GT(next, now) << "step " << step << " of " << total;
      } else {
        EXPECT_LE(next, now) << "step " << step << " of " << total;
        EXPECT_GE(now, options.floor);
      }
    }
    EXPECT_NEAR(ScheduleFactor(options, warmup, total), 1.0, 1e-12);
    EXPECT_NEAR(ScheduleFactor(options, total + warmup + 1, total), options.floor, 1e-12);
  }
}

// Values of transformers' get_cosine_schedule_with_warmup for 100 steps, 3 of them warm-up.
TEST(ScheduleTest, CosineIsTheOneOfThePublishedRecipes) {
  const ScheduleOptions options{ScheduleKind::kCosine, 0.03, 0.0};
  EXPECT_DOUBLE_EQ(ScheduleFactor(options, 0, 100), 0.0);
  EXPECT_DOUBLE_EQ(ScheduleFactor(options, 1, 100), 1.0 / 3.0);
  EXPECT_DOUBLE_EQ(ScheduleFactor(options, 3, 100), 1.0);
  EXPECT_DOUBLE_EQ(ScheduleFactor(options, 51, 100),
                   0.5 * (1.0 + std::cos(std::numbers::pi * 48.0 / 97.0)));
}

// As transformers counts them: a step that has begun is one.
TEST(ScheduleTest, WarmUpIsRoundedUp) {
  const auto steps = [](double ratio, std::int64_t total) {
    return WarmupSteps({ScheduleKind::kCosine, ratio, 0.0}, total);
  };
  EXPECT_EQ(steps(0.0, 100), 0);
  EXPECT_EQ(steps(0.03, 50), 2);
  EXPECT_EQ(steps(0.03, 1), 1);
  EXPECT_EQ(steps(1.0, 7), 7);
}

TEST(ScheduleTest, ConstantStaysAtThePeakAfterWarmup) {
  const ScheduleOptions options{ScheduleKind::kConstant, 0.1, 0.0};
  for (std::int64_t step = 10; step < 100; ++step) {
    EXPECT_DOUBLE_EQ(ScheduleFactor(options, step, 100), 1.0);
  }
}

}  // namespace
}  // namespace llava::training
