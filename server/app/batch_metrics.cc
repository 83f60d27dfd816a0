#include "server/app/batch_metrics.h"

#include <prometheus/client_metric.h>

#include <cstdint>
#include <string>
#include <utility>

namespace llava::server {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

void Add(std::int64_t value, const char* label, const char* label_value, MetricFamily* family) {
  prometheus::ClientMetric metric;
  if (label != nullptr) metric.label.push_back({label, label_value});
  if (family->type == MetricType::Counter) {
    metric.counter.value = static_cast<double>(value);
  } else {
    metric.gauge.value = static_cast<double>(value);
  }
  family->metric.push_back(std::move(metric));
}

}  // namespace

std::vector<MetricFamily> BatchMetrics(const batches::BatchCounts& counts) {
  MetricFamily batches{"llava_batches", "Batches that have not ended.", MetricType::Gauge, {}};
  Add(counts.waiting, "state", "waiting", &batches);
  Add(counts.running, "state", "running", &batches);
  MetricFamily in_flight{"llava_batch_rows_in_flight",
                         "Rows of batches that are being answered.",
                         MetricType::Gauge,
                         {}};
  Add(counts.in_flight, nullptr, "", &in_flight);
  MetricFamily rows{
      "llava_batch_rows_total", "Rows of batches by what became of them.", MetricType::Counter, {}};
  Add(counts.answered, "outcome", "answered", &rows);
  Add(counts.refused, "outcome", "refused", &rows);
  Add(counts.postponed, "outcome", "postponed", &rows);
  return {std::move(batches), std::move(in_flight), std::move(rows)};
}

}  // namespace llava::server
