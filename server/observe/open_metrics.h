// The OpenMetrics text format, version 1.0.0, which unlike Prometheus' own has exemplars.
#ifndef LLAVA_SERVER_OBSERVE_OPEN_METRICS_H_
#define LLAVA_SERVER_OBSERVE_OPEN_METRICS_H_

#include <absl/strings/string_view.h>
#include <prometheus/metric_family.h>

#include <span>
#include <string>
#include <vector>

#include "server/observe/exemplars.h"

namespace llava::observe {

inline constexpr const char* kOpenMetricsType =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

// Whether a scraper whose header Accept is `accept` prefers it to Prometheus' text: it names it,
// and gives the other no higher weight.
bool WantsOpenMetrics(absl::string_view accept);

// Counters whose names do not end in _total become `unknown`, for the format has no other place
// for them. Of histograms, those that `exemplars` names have theirs.
std::string OpenMetricsText(const std::vector<prometheus::MetricFamily>& families,
                            std::span<const Exemplars* const> exemplars);

}  // namespace llava::observe

#endif  // LLAVA_SERVER_OBSERVE_OPEN_METRICS_H_
