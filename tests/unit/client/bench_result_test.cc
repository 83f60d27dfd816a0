#include "client/bench_result.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace llava::client {
namespace {

TimePoint At(double seconds) {
  return TimePoint(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)));
}

double Value(const boost::json::object& result, const char* group, const char* name) {
  return result.at(group).at(name).to_number<double>();
}

TEST(PercentileTest, IsTheNearestRank) {
  const std::vector<double> values = {5, 1, 4, 2, 3};
  EXPECT_EQ(Percentile(values, 50), 3);
  EXPECT_EQ(Percentile(values, 90), 5);
  EXPECT_EQ(Percentile(values, 20), 1);
  EXPECT_EQ(Percentile(values, 21), 2);
  EXPECT_EQ(Percentile({7}, 1), 7);
  EXPECT_EQ(Percentile({}, 50), 0);
}

Sample MakeSample(double due, double start, double end) {
  Sample sample;
  sample.due = At(due);
  sample.start = At(start);
  sample.end = At(end);
  return sample;
}

TEST(BenchResultTest, CountsTokensTimesAndErrors) {
  Sample good = MakeSample(1, 1.5, 5);
  good.arrivals = {{At(3), 1}, {At(3.5), 1}, {At(5), 1}};
  good.prompt_tokens = 20;
  good.cached_tokens = 16;
  Sample cut = MakeSample(2, 2, 6);
  cut.arrivals = {{At(4), 1}};
  cut.error = "DEADLINE_EXCEEDED";
  Sample refused = MakeSample(2, 2, 2);
  refused.error = "RESOURCE_EXHAUSTED";
  const boost::json::object result = Summarize({good, cut, refused});
  EXPECT_EQ(result.at("output_tokens").to_number<int>(), 4);
  EXPECT_DOUBLE_EQ(result.at("seconds").to_number<double>(), 4.5);
  EXPECT_DOUBLE_EQ(result.at("output_tokens_per_second").to_number<double>(), 4 / 4.5);
  EXPECT_DOUBLE_EQ(result.at("requests_per_second").to_number<double>(), 1 / 4.5);
  // From when it was to be sent, not from when it was.
  EXPECT_DOUBLE_EQ(Value(result, "time_to_first_token_seconds", "max"), 2);
  EXPECT_DOUBLE_EQ(Value(result, "request_seconds", "max"), 4);
  EXPECT_DOUBLE_EQ(Value(result, "inter_token_seconds", "p50"), 0.5);
  EXPECT_DOUBLE_EQ(Value(result, "inter_token_seconds", "max"), 1.5);
  EXPECT_EQ(boost::json::serialize(result.at("errors")),
            R"({"DEADLINE_EXCEEDED":1,"RESOURCE_EXHAUSTED":1})");
  EXPECT_EQ(result.at("cached_tokens").to_number<int>(), 16);
}

TEST(BenchResultTest, TokensOfAnEventShareTheTimeSinceTheOneBefore) {
  Sample sample = MakeSample(0, 0, 4);
  sample.arrivals = {{At(1), 2}, {At(3), 4}, {At(4), 1}};
  const boost::json::object result = Summarize({sample});
  EXPECT_EQ(result.at("output_tokens").to_number<int>(), 7);
  EXPECT_DOUBLE_EQ(Value(result, "time_to_first_token_seconds", "max"), 1);
  EXPECT_EQ(Value(result, "inter_token_seconds", "count"), 5);  // four of 0.5 s, one of 1 s
  EXPECT_DOUBLE_EQ(Value(result, "inter_token_seconds", "p50"), 0.5);
  EXPECT_DOUBLE_EQ(Value(result, "inter_token_seconds", "max"), 1);
  EXPECT_DOUBLE_EQ(Value(result, "inter_token_seconds", "mean"), 0.6);
}

TEST(BenchResultTest, NothingIsZero) {
  EXPECT_EQ(Summarize({}).at("output_tokens_per_second").to_number<double>(), 0);
}

}  // namespace
}  // namespace llava::client
