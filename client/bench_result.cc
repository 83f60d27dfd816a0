#include "client/bench_result.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace llava::client {
namespace {

boost::json::object Distribution(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  const double count = static_cast<double>(values.size());
  return {{"count", values.size()},        {"mean", values.empty() ? 0 : sum / count},
          {"p50", Percentile(values, 50)}, {"p90", Percentile(values, 90)},
          {"p95", Percentile(values, 95)}, {"p99", Percentile(values, 99)},
          {"max", Percentile(values, 100)}};
}

}  // namespace

double Percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(percent / 100 * static_cast<double>(values.size()));
  return values[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

boost::json::object Summarize(const std::vector<Sample>& samples) {
  std::vector<double> first, gaps, whole;
  std::map<std::string, int> errors;
  std::int64_t tokens = 0, prompt = 0, cached = 0;
  TimePoint begin = TimePoint::max(), end = TimePoint::min();
  for (const Sample& sample : samples) {
    begin = std::min(begin, sample.start);
    end = std::max(end, sample.end);
    if (!sample.error.empty()) ++errors[sample.error];
    for (const Arrival& arrival : sample.arrivals) tokens += arrival.tokens;
    prompt += sample.prompt_tokens;
    cached += sample.cached_tokens;
    const std::vector<Arrival>& arrivals = sample.arrivals;
    if (!arrivals.empty()) first.push_back(Seconds(arrivals.front().time - sample.due));
    for (std::size_t i = 1; i < arrivals.size(); ++i) {
      const double gap = Seconds(arrivals[i].time - arrivals[i - 1].time) / arrivals[i].tokens;
      gaps.insert(gaps.end(), static_cast<std::size_t>(arrivals[i].tokens), gap);
    }
    if (sample.error.empty()) whole.push_back(Seconds(sample.end - sample.due));
  }
  const double seconds = samples.empty() ? 0 : Seconds(end - begin);
  boost::json::object error_counts;
  for (const auto& [name, count] : errors) error_counts[name] = count;
  return {{"requests", samples.size()},
          {"seconds", seconds},
          {"requests_per_second", seconds > 0 ? static_cast<double>(whole.size()) / seconds : 0},
          {"output_tokens_per_second", seconds > 0 ? static_cast<double>(tokens) / seconds : 0},
          {"output_tokens", tokens},
          {"prompt_tokens", prompt},
          {"cached_tokens", cached},
          {"time_to_first_token_seconds", Distribution(first)},
          {"inter_token_seconds", Distribution(gaps)},
          {"request_seconds", Distribution(whole)},
          {"errors", error_counts}};
}

}  // namespace llava::client
