// What a load test measured, as numbers people compare.
#ifndef LLAVA_CLIENT_BENCH_RESULT_H_
#define LLAVA_CLIENT_BENCH_RESULT_H_

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "base/clock.h"

namespace llava::client {

// Tokens that arrived together.
struct Arrival {
  TimePoint time;
  int tokens = 0;  // at least 1
};

// One request of the test.
struct Sample {
  TimePoint due;  // when it was to be sent: latencies count from here, so that a late sender shows
  TimePoint start;
  TimePoint end;
  std::vector<Arrival> arrivals;
  std::string error;  // name of the status code; empty: OK
  int cached_tokens = 0;
  int prompt_tokens = 0;
};

// The value below which `percent` of the values lie (nearest rank); 0 without values.
double Percentile(std::vector<double> values, double percent);

// Throughput, time to first token, inter-token and whole-request percentiles in seconds, errors by
// kind. Over the samples as they are: leave the warm-up out. The time between two arrivals is
// shared by the tokens of the later one; nothing is known of tokens that came with the first.
boost::json::object Summarize(const std::vector<Sample>& samples);

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BENCH_RESULT_H_
