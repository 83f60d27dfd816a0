// What the batches do, as metrics that are read when somebody scrapes.
#ifndef LLAVA_SERVER_APP_BATCH_METRICS_H_
#define LLAVA_SERVER_APP_BATCH_METRICS_H_

#include <prometheus/metric_family.h>

#include <vector>

#include "server/batches/service.h"

namespace llava::server {

std::vector<prometheus::MetricFamily> BatchMetrics(const batches::BatchCounts& counts);

}  // namespace llava::server

#endif  // LLAVA_SERVER_APP_BATCH_METRICS_H_
