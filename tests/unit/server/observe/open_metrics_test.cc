#include "server/observe/open_metrics.h"

#include <prometheus/registry.h>

#include <cmath>

#include "gtest/gtest.h"
#include "server/observe/metrics.h"

namespace llava::observe {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

std::string Text(const MetricFamily& family) { return OpenMetricsText({family}, {}); }

TEST(OpenMetricsTest, CountersAreNamedWithoutTheirEnding) {
  MetricFamily family{"a_total", "How \"many\".\nTwo lines \\ one.", MetricType::Counter, {}};
  family.metric.resize(2);
  family.metric[0].label = {{"x", "a\"b\\c\nd"}, {"y", "2"}};
  family.metric[0].counter.value = 3;
  family.metric[1].counter.value = 0.1;
  EXPECT_EQ(Text(family),
            "# TYPE a counter\n"
            "# HELP a How \\\"many\\\".\\nTwo lines \\\\ one.\n"
            "a_total{x=\"a\\\"b\\\\c\\nd\",y=\"2\"} 3\n"
            "a_total 0.1\n"
            "# EOF\n");
}

TEST(OpenMetricsTest, ACounterWithAnotherNameIsOfUnknownType) {
  MetricFamily family{"starts", "", MetricType::Counter, std::vector<ClientMetric>(1)};
  EXPECT_EQ(Text(family), "# TYPE starts unknown\n# HELP starts \nstarts 0\n# EOF\n");
}

TEST(OpenMetricsTest, GaugesOfEveryValue) {
  MetricFamily family{"g_total", "", MetricType::Gauge, std::vector<ClientMetric>(4)};
  family.metric[0].gauge.value = NAN;
  family.metric[1].gauge.value = INFINITY;
  family.metric[2].gauge.value = -INFINITY;
  family.metric[3].gauge.value = 1764400000.125;
  EXPECT_EQ(Text(family),
            "# TYPE g_total gauge\n# HELP g_total \ng_total NaN\ng_total +Inf\ng_total -Inf\n"
            "g_total 1764400000.125\n# EOF\n");
}

TEST(OpenMetricsTest, SummariesHaveQuantiles) {
  MetricFamily family{"s", "", MetricType::Summary, std::vector<ClientMetric>(1)};
  family.metric[0].summary = {4, 2.5, {{0.5, 1}, {1, 2}}};
  EXPECT_EQ(Text(family),
            "# TYPE s summary\n# HELP s \ns{quantile=\"0.5\"} 1\ns{quantile=\"1.0\"} 2\n"
            "s_count 4\ns_sum 2.5\n# EOF\n");
}

TEST(OpenMetricsTest, BucketsHaveTheirExemplars) {
  prometheus::Registry registry;
  auto& histogram = prometheus::BuildHistogram()
                        .Name("h_seconds")
                        .Register(registry)
                        .Add({{"k", "v"}}, std::vector{0.5, 2.0});
  histogram.Observe(0.25);
  histogram.Observe(9);
  Exemplars exemplars("h_seconds", {0.5, 2});
  exemplars.Note({9, "0123456789abcdef0123456789abcdef", 1764400000.125});
  Exemplars others("another_seconds", {0.5, 2});
  others.Note({0.25, "ffff", 1});
  const std::array<const Exemplars*, 2> all = {&others, &exemplars};
  EXPECT_EQ(
      OpenMetricsText(registry.Collect(), all),
      "# TYPE h_seconds histogram\n"
      "# HELP h_seconds \n"
      "h_seconds_bucket{k=\"v\",le=\"0.5\"} 1\n"
      "h_seconds_bucket{k=\"v\",le=\"2.0\"} 1\n"
      "h_seconds_bucket{k=\"v\",le=\"+Inf\"} 2 # {trace_id=\"0123456789abcdef0123456789abcdef\"}"
      " 9 1764400000.125\n"
      "h_seconds_count{k=\"v\"} 2\n"
      "h_seconds_sum{k=\"v\"} 9.25\n"
      "# EOF\n");
}

// A place is found by its number: the bounds that exemplars are sorted by are the histogram's own.
TEST(OpenMetricsTest, TheDaemonsExemplarsLieInTheirBuckets) {
  prometheus::Registry registry;
  Metrics metrics(&registry);
  for (double seconds : {0.0004, 0.0015, 0.7, 599.0, 5000.0}) {
    metrics.request_seconds.Observe(seconds);
    metrics.request_exemplars.Note({seconds, "ab", 1});
    metrics.time_to_first_token_seconds.Observe(seconds);
    metrics.time_to_first_token_exemplars.Note({seconds, "ab", 1});
  }
  const std::string text = OpenMetricsText(registry.Collect(), metrics.exemplars());
  for (const char* name : {"llava_request_seconds", "llava_time_to_first_token_seconds"}) {
    const auto line = [&](const std::string& le, const std::string& rest) {
      return "\n" + std::string(name) + "_bucket{le=\"" + le + "\"} " + rest + "\n";
    };
    EXPECT_NE(text.find(line("0.001", "1 # {trace_id=\"ab\"} 4e-04 1")), std::string::npos);
    EXPECT_NE(text.find(line("0.0015", "2 # {trace_id=\"ab\"} 0.0015 1")), std::string::npos);
    EXPECT_NE(text.find(line("0.75", "3 # {trace_id=\"ab\"} 0.7 1")), std::string::npos);
    EXPECT_NE(text.find(line("1.0", "3")), std::string::npos);
    EXPECT_NE(text.find(line("+Inf", "5 # {trace_id=\"ab\"} 5000 1")), std::string::npos);
  }
}

TEST(OpenMetricsTest, WhatAScraperPrefers) {
  EXPECT_TRUE(WantsOpenMetrics("application/openmetrics-text"));
  EXPECT_TRUE(WantsOpenMetrics(
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
      "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
  EXPECT_FALSE(WantsOpenMetrics(""));
  EXPECT_FALSE(WantsOpenMetrics("*/*"));
  EXPECT_FALSE(WantsOpenMetrics("text/plain, application/openmetrics-text;q=0.4"));
  EXPECT_FALSE(WantsOpenMetrics("application/openmetrics-text; q=0"));
  EXPECT_FALSE(WantsOpenMetrics("application/openmetrics-text; q=much"));
}

}  // namespace
}  // namespace llava::observe
