#include "server/scheduling/costs/measurements.h"

#include <gtest/gtest.h>

namespace llava::scheduling {
namespace {

Measurements Of(std::initializer_list<double> values) {
  Measurements all;
  for (const double value : values) all.Add(value);
  return all;
}

TEST(MeasurementsTest, WithoutAnyThereIsNoValue) {
  EXPECT_EQ(Measurements().count(), 0u);
  EXPECT_EQ(Measurements().Quantile(0.5), 0);
}

TEST(MeasurementsTest, QuantilesRoundDown) {
  const Measurements five = Of({5, 1, 4, 2, 3});
  EXPECT_EQ(five.count(), 5u);
  EXPECT_EQ(five.Quantile(0), 1);
  EXPECT_EQ(five.Quantile(0.25), 2);
  EXPECT_EQ(five.Quantile(0.49), 2);
  EXPECT_EQ(five.Quantile(0.5), 3);
  EXPECT_EQ(five.Quantile(1), 5);
  EXPECT_EQ(Of({7, 9}).Quantile(0.5), 7);
  EXPECT_EQ(Of({7}).Quantile(1), 7);
}

TEST(MeasurementsTest, TheOldestIsForgotten) {
  Measurements all;
  for (std::size_t i = 0; i < Measurements::kWindow; ++i) all.Add(100);
  EXPECT_EQ(all.count(), Measurements::kWindow);
  all.Add(1);
  EXPECT_EQ(all.count(), Measurements::kWindow);
  EXPECT_EQ(all.Quantile(0), 1);
  EXPECT_EQ(all.Quantile(0.1), 100);
  for (std::size_t i = 1; i < Measurements::kWindow; ++i) all.Add(1);
  EXPECT_EQ(all.Quantile(1), 1);
}

}  // namespace
}  // namespace llava::scheduling
